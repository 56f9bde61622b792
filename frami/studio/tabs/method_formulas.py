"""The formulas of the Method tab as MathML, which browsers draw themselves, each with its name in the code."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Formula:
    """``math`` : MathML without its root; ``words`` : what it asks for; ``code`` : its names, ``path`` : their file."""

    title: str
    math: str
    words: str
    code: str
    path: str


def _i(*names: str) -> str:
    return "".join(f"<mi>{name}</mi>" for name in names)


def _o(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _sub(base: str, index: str) -> str:
    return f"<msub><mrow>{base}</mrow><mrow>{index}</mrow></msub>"


def _call(name: str, *arguments: str, separator: str = ",") -> str:
    return f"{name}{_o('(')}{_o(separator).join(arguments)}{_o(')')}"


def _norm(content: str) -> str:
    return f"<msub><mrow>{_o('‖')}{content}{_o('‖')}</mrow><mn>2</mn></msub>"


_L = "<mi mathvariant='script'>L</mi>"
_MADE = f"{_sub(_i('G'), _i('θ'))}{_o('(')}{_i('z')}{_o(')')}"
_TEACHER, _STUDENT = _call(_i("T"), _i("x")), _call(_i("S"), _i("x"))
_HAT = "<mover><mi>{}</mi><mo>^</mo></mover>"
_COSINE = _call("<mi>cos</mi>", _sub(_i("φ"), _i("i")), _sub(_i("φ"), _i("j")))

FORMULAS = (
    Formula(
        "Inversion",
        f"<munder><mi>min</mi><mrow>{_i('θ')}{_o(',')}{_i('z')}</mrow></munder><munder>{_o('∑')}{_i('k')}</munder>"
        f"{_sub(_i('w'), _i('k'))}{_sub(_L, _i('k'))}{_o('(')}{_i('x')}{_o(')')}{_o(',')}<mspace width='1em'/>"
        f"{_i('x')}{_o('=')}{_MADE}",
        "A small generator G makes the clips x out of noise z; both are changed until the weighted sum is small.",
        "invert · RECIPES (weights)",
        "frami/inversion/loop.py",
    ),
    Formula(
        "Target class",
        f"{_sub(_L, '<mtext>class</mtext>')}{_o('=')}{_call('<mtext>CE</mtext>', _TEACHER, _i('y'))}",
        "The teacher T recognises the class y that was asked for.",
        "class_loss",
        "frami/inversion/losses.py",
    ),
    Formula(
        "Batch-norm statistics",
        f"{_sub(_L, '<mtext>bn</mtext>')}{_o('=')}<munder>{_o('∑')}{_i('l')}</munder>"
        + _norm(
            f"{_call(_sub(_i('μ'), _i('l')), _i('x'))}{_o('−')}{_sub(_HAT.format('μ'), _i('l'))}"
        )
        + _o("+")
        + _norm(
            f"<msubsup>{_i('σ')}{_i('l')}<mn>2</mn></msubsup>{_o('(')}{_i('x')}{_o(')')}{_o('−')}"
            f"<msubsup><mrow>{_HAT.format('σ')}</mrow>{_i('l')}<mn>2</mn></msubsup>"
        ),
        "In every layer l the clips have the mean and variance that the layer stored of its training data.",
        "batch_norm_loss",
        "frami/inversion/losses.py",
    ),
    Formula(
        "Contrast",
        f"{_sub(_L, '<mtext>contrast</mtext>')}{_o('=')}<mi>log</mi><mfrac><mn>1</mn><mrow>{_i('B')}{_o('−')}<mn>1</mn>"
        f"</mrow></mfrac><munder>{_o('∑')}<mrow>{_i('j')}{_o('≠')}{_i('i')}</mrow></munder><mi>exp</mi>{_o('(')}<mfrac>"
        f"<mrow>{_COSINE}</mrow>{_i('τ')}</mfrac>{_o(')')}",
        "The features φ of a clip differ from those of the others in its batch: rich clips, not one clip many times.",
        "repulsion_loss",
        "frami/inversion/losses.py",
    ),
    Formula(
        "The student",
        f"<munder><mi>min</mi>{_i('S')}</munder><mspace width='.3em'/>"
        f"{_call('<mtext>KL</mtext>', _TEACHER, _STUDENT, separator='‖')}{_o('+')}"
        f"{_call(_i('d'), _sub(_i('H'), _i('T')), _sub(_i('H'), _i('S')))}{_o('+')}"
        f"{_call(_i('d'), _sub(_i('s'), _i('T')), _sub(_i('s'), _i('S')))}",
        "The student S answers as the teacher does, with the same frame-level features H before the statistics pooling "
        "and the same embedding s behind it.",
        "kd_loss · frames_loss · pooled_loss",
        "frami/distill/objectives.py",
    ),
)  # fmt: skip


def html(repository: str) -> str:
    """All formulas; ``repository`` : an address to which a file's path is added, or empty."""
    rows = []
    for row in FORMULAS:
        where = f"<code>{escape(row.path)}</code>"
        if repository:
            where = f'<a href="{escape(repository)}/blob/main/{row.path}" target="_blank" rel="noreferrer">{where}</a>'
        rows.append(
            f'<div class="formula"><h4>{escape(row.title)}</h4><math display="block" tabindex="0">{row.math}</math>'
            f"<p>{escape(row.words)}</p><small><code>{escape(row.code)}</code> in {where}</small></div>"
        )
    return f'<div class="frami-formulas">{"".join(rows)}</div>'
