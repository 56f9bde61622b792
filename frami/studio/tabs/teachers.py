"""The Teachers & data tab: which networks and recordings are here, and how to add more."""

from html import escape

import gradio as gr

from frami.errors import FramiError
from frami.hosting.limits import LIFTING
from frami.hosting.mode import hosted
from frami.models import ARCHITECTURES, DEFAULT
from frami.studio import components
from frami.studio.services import data_sets, network_cards, preparations, sent
from frami.studio.tabs.base import EVENT, Page, Tab, refusal

_INTRO = """
**A teacher is a sound classifier that was trained on real recordings.** Choose one above to hear what it remembers.
Here are all of them, what they learnt from, and three ways to add your own: train one on recordings, import one, or
download a data set first.
"""
#: The choice of recordings that come in an archive.
_ARCHIVE = ("the archive above", "")
#: Sizes to train, smallest first, with what to expect of them.
_SIZES = (("nano", "nano"), ("tiny", "tiny"), ("small", "small"), ("base: as the bundled ones", "base"))
_TRAIN = (
    "To train a teacher, put recordings into a **folder for each class** and pack these into one ZIP archive: two "
    "classes at least, with a dozen recordings each or more. A fifth is held out to measure it. The training goes on "
    "when you close this page."
)
_IMPORT = (
    "A checkpoint that `frami` wrote, or an Audio Spectrogram Transformer of the Hugging Face Hub. Only weights are "
    "read, never code."
)


class TeachersAndData(Tab):
    title, name, wide = "Teachers & data", "teachers", True

    def build(self, teacher: str) -> None:
        works, self.allowed = self.services.preparations, self.services.preparations.allowed
        gr.Markdown(_INTRO, elem_id="teachers-intro")
        off = _off(works)
        gr.HTML(off, visible=bool(off), elem_id="teachers-limits", apply_default_css=False, padding=False)
        self.work = components.drawn("preparing", {"work": []}, "preparing", self._functions())
        self.cards = components.drawn("teachers", {"teachers": [], "data": []}, "teachers")
        with gr.Row(elem_id="teachers-forms"):
            with gr.Column(min_width=320, visible=self.allowed("train"), elem_id="train-form"):
                self._train_form()
            with gr.Column(min_width=320, visible=self.allowed("import"), elem_id="import-form"):
                self._import_form()

    def _train_form(self) -> None:
        gr.Markdown(f"### Train a teacher\n\n{_TRAIN}")
        self.archive = gr.File(
            label="ZIP archive of class folders", file_types=[".zip"], elem_id="train-archive", height=120
        )
        self.dataset = gr.Dropdown(
            [_ARCHIVE], value=_ARCHIVE[1], label="Recordings", elem_id="train-dataset", info="or those that are here"
        )
        with gr.Row():
            self.called = gr.Textbox(
                label="Name of the teacher", max_length=preparations.NAME, max_lines=1, elem_id="train-name",
                placeholder="my-sounds", scale=2, min_width=160,
            )  # fmt: skip
            self.epochs = gr.Number(
                0, minimum=0, maximum=preparations.EPOCHS, label="Epochs", precision=0, elem_id="train-epochs",
                scale=1, min_width=110,
                info="0: what suits the data",
            )  # fmt: skip
        self.size = gr.Radio(
            [choice for choice in _SIZES if choice[1] in ARCHITECTURES[DEFAULT].sizes], value="tiny", label="Size",
            info="smaller ones train faster", elem_id="train-size",
        )  # fmt: skip
        self.train = gr.Button("Train a teacher", variant="primary", elem_id="train-start")

    def _import_form(self) -> None:
        gr.Markdown(f"### Import a teacher\n\n{_IMPORT}")
        where = "OWNER/NAME of the Hub" + ("" if hosted() else ", or a folder of this machine")
        self.source = gr.Textbox(
            label=where, max_length=sent.NAME, max_lines=1, elem_id="import-source", placeholder="OWNER/NAME"
        )
        self.files = gr.File(
            label="or its two files: weights (.safetensors) and card (.json)", file_count="multiple",
            file_types=[".safetensors", ".json"], elem_id="import-files", height=120,
        )  # fmt: skip
        self.imported = gr.Textbox(
            label="Name of the teacher", max_length=preparations.NAME, max_lines=1, elem_id="import-name",
            placeholder="as it is called there", info="needed with two files",
        )  # fmt: skip
        self.load = gr.Button("Import a teacher", variant="primary", elem_id="import-start")

    def connect(self, page: Page, opened: gr.Tab) -> None:
        once = EVENT | {"concurrency_limit": None, "trigger_mode": "once"}
        quiet = EVENT | {"queue": False}
        shown = [self.cards, self.work, self.dataset, page.teacher]
        opened.select(self._look, None, shown, **quiet)
        self.work.select(self._look, None, shown, **quiet)
        self.train.click(
            self._train, [self.called, self.dataset, self.archive, self.size, self.epochs],
            [self.work, self.archive], **once,
        )  # fmt: skip
        self.load.click(self._import, [self.imported, self.source, self.files], [self.work, self.files], **once)

    def _look(self) -> tuple:
        """What is here now: cards and data sets, the visitor's work, recordings to train on, teachers to choose."""
        who, works, teachers = self.who(), self.services.preparations, self.services.teachers
        chips = {name: title for title, name in components.titles(teachers)}
        value = {
            "teachers": [row | {"chip": chips[row["name"]]} for row in network_cards.rows(teachers)],
            "data": data_sets.rows(),
            "folder": None if hosted() else data_sets.target(),
            "may": {kind: works.allowed(kind) for kind in preparations.KINDS},
        }
        choices = gr.update(choices=[_ARCHIVE, *data_sets.offered()])
        return value, {"work": works.value(who)}, choices, gr.update(choices=components.titles(self.services.teachers))

    def _train(self, name, dataset, archive, size, epochs) -> tuple:
        archive = str(archive) if archive else None  # of Gradio's own kind of text, which no worker takes
        return self._begun(
            lambda who: self.services.preparations.train(name or "", dataset, archive, size, epochs, who)
        )

    def _import(self, name, source, files) -> tuple:
        return self._begun(
            lambda who: self.services.preparations.import_teacher(
                name or "", source or "", [str(one) for one in files or []], who
            )
        )

    def _begun(self, begin) -> tuple:
        who = self.who()
        try:
            id = begin(who)
        except FramiError as error:
            raise refusal(error) from error
        return {"work": self.services.preparations.value(who), "begun": id}, None

    def _functions(self) -> list:
        works = self.services.preparations

        @components.reply
        def work(request) -> dict:
            return {"work": works.value(self.who())}

        @components.reply
        def download(request) -> dict:
            return {"begun": works.download(_named(request, "name"), self.who())}

        @components.reply
        def gallery(request) -> dict:
            teacher = _named(request, "name")
            if teacher not in self.services.teachers:
                raise FramiError("this teacher is not here any more; reload the page")
            return {"begun": works.gallery(teacher, self.who())}

        @components.reply
        def halt(request) -> dict:
            works.stop(_named(request, "id"), self.who())
            return {}

        @components.reply
        def proceed(request) -> dict:
            works.resume(_named(request, "id"), self.who())
            return {}

        @components.reply
        def discard(request) -> dict:
            works.remove(_named(request, "id"), self.who())
            return {}

        return [work, download, gallery, halt, proceed, discard]


#: Kinds of work as the note names them where they are off.
_OFF = {"train": "training", "import": "import", "download": "downloads of data sets"}


def _off(works: preparations.Preparations) -> str:
    """What is not done on this page, and how to lift that, as HTML; empty where all is."""
    off = [words for kind, words in _OFF.items() if not works.allowed(kind)]
    if not off:
        return ""
    listed = off[0] if len(off) == 1 else f"{', '.join(off[:-1])} and {off[-1]}"
    verb = "is" if off in (["training"], ["import"]) else "are"
    return f'<p class="frami-limits">On this shared page <b>{escape(listed)}</b> {verb} off. {escape(LIFTING)}.</p>'


def _named(request, key: str) -> str:
    return sent.text(sent.record(request).get(key), "the name" if key == "name" else "the id", 100)
