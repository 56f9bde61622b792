"""The Method tab: the idea in one picture, its formulas, what was measured, and what it cannot do."""

from html import escape

import gradio as gr

from frami.studio import components
from frami.studio.services import method
from frami.studio.tabs import method_formulas
from frami.studio.tabs.base import EVENT, Page, Tab

_INTRO = """
**From a network's weights alone: sounds, and a smaller network that learns from them.** A clip begins as noise. Step by
step it is changed until the *teacher* recognises a class in it, and until it looks to every layer like the training
data did. A *student*, a fraction of the teacher's size, learns from such clips. No recording is used in between.
"""
_LIMITS = (
    "**Strangers' voices.** A teacher that learnt from few people does not know others, and its student no more than "
    "it: see the table below. Use a teacher of many voices.",
    "**Networks without batch norm.** They store no statistics of their training data; what is made of them has the "
    "right class and little else, and students learn little from it.",
    "**The sounds are no recordings.** They are what the network reacts to, not what a person would say. "
    "That is no proof that nothing of the training data could be found in them.",
    "**Real clips are better where you have them.** Made ones stand in where data cannot be kept, shared or asked for.",
    "**The paper's code is not public.** What its abstract leaves open is this project's own formulation; no "
    "figure here is the paper's.",
)
_PAPER = "https://arxiv.org/abs/2303.07643"


class Method(Tab):
    title, name, wide = "Method", "method", True

    def build(self, teacher: str) -> None:
        self.method = method.Method(self.services.teachers, self.services.galleries, self.services.clips)
        gr.Markdown(_INTRO, elem_id="method-intro")
        functions = [components.wav_function(lambda id: self.services.clips.sound(id, self.who()))]
        self.picture = components.drawn("method", {}, "method", functions)
        gr.Markdown("### In formulas", elem_classes="method-head")
        gr.HTML(method_formulas.html(method.repository()), elem_id="method-formulas", apply_default_css=False)
        gr.Markdown("### Measured", elem_classes="method-head")
        gr.HTML(_students(method.students()), elem_id="method-results", apply_default_css=False)
        gr.Markdown("### What it cannot do\n\n" + "\n".join(f"- {line}" for line in _LIMITS), elem_id="method-limits")
        gr.HTML(_strangers(method.strangers()), elem_id="method-strangers", apply_default_css=False)
        gr.Markdown(f"### Read more, and cite\n\n{_links(method.repository())}", elem_id="method-links")
        self.cite = components.drawn("cite", {"text": method.citation() or ""}, "method-cite")

    def connect(self, page: Page, opened: gr.Tab) -> None:
        event = EVENT | {"queue": False, "trigger_mode": "always_last"}
        # Only where somebody looks: the states of a clip are classified for it.
        opened.select(self.method.story, page.teacher, self.picture, **event)
        self.picture.select(self.method.story, page.teacher, self.picture, **event)
        page.teacher.change(self._changed, page.teacher, self.picture, **event)

    def _changed(self, teacher: str) -> dict:
        """Only the teacher's name: the page asks for its story when somebody looks at it."""
        return {"asked": teacher, "later": True}


def _table(head: list[str], rows: list[list[str]], command: str) -> str:
    cells = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<div class="frami-measured"><div class="scroll" tabindex="0" role="group" aria-label="Table">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>"
        f"<p>Measured by <code>{escape(command)}</code></p></div>"
    )


def _students(found: dict | None) -> str:
    """Students beside their teachers, as HTML."""
    if found is None:
        return '<p class="frami-measured">The measurements are in docs/results of the repository.</p>'
    head = [
        "teacher of",
        "teacher, %",
        "student without data, %",
        "agrees with the teacher, %",
        "student of real clips, %",
    ]
    about = f"Held-out real recordings that are classified correctly; students: {found['title']}; ± over seeds."
    return f'<p class="frami-measured">{escape(about)}</p>' + _table(head, found["rows"], found["command"])


def _strangers(found: dict | None) -> str:
    """Networks on people whom they never heard, as HTML."""
    if found is None:
        return ""
    about = "Spoken digits of people whom the network never heard, classified correctly."
    return f'<p class="frami-measured">{escape(about)}</p>' + _table(found["head"], found["rows"], found["command"])


def _links(repository: str) -> str:
    def file(path: str, words: str) -> str:
        return f"[{words}]({repository}/blob/main/{path})" if repository else f"{words}: `{path}`"

    return " · ".join(
        [
            f"[the paper: FRAMI, ICASSP 2023, arXiv 2303.07643]({_PAPER})",
            file("docs/method.md", "all terms and recipes"),
            file("docs/results.md", "all measurements"),
            *([f"[the code]({repository})"] if repository else []),
        ]
    )
