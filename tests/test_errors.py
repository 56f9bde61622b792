"""Messages end with one mark."""

import ast
import re

import pytest

from frami.audio_input import AudioInputError, read
from frami.errors import sentence
from tests.helpers.messages import raised, trees
from tests.test_sound_files import wav

#: Names of what holds somebody else's sentence, which may end with a mark of its own.
_SENTENCES = re.compile(r"error|reason|why|message|trouble|words|told|none")


@pytest.mark.parametrize("text", ["no such file", "no such file.", "is it damaged?", "is it damaged? ", "wait…"])
def test_a_sentence_has_one_mark(text):
    assert re.search(r"\w[.?…]$", sentence(text))


def test_no_mark_is_put_behind_a_sentence():
    """Nowhere in the program: such a sentence may be a question."""
    found = []
    for name, tree in trees("bench"):
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                for part, then in zip(node.values, node.values[1:], strict=False):
                    if not isinstance(part, ast.FormattedValue) or not isinstance(then, ast.Constant):
                        continue
                    inner = part.value.id if isinstance(part.value, ast.Name) else ""
                    if _SENTENCES.fullmatch(inner) and re.match(r"[.?!](\s|$)", then.value):
                        found.append(f"{name}:{node.lineno} {inner}")
    assert not found, f"{found}: take errors.sentence"


def test_no_message_has_two_marks():
    texts = [(name, text) for name, tree in trees() for text in raised(tree)]
    assert len(texts) > 400
    assert not [(name, text) for name, text in texts if re.search(r"(?<!\.)[.?!][.?!;,](\s|$)", text)]


def test_a_damaged_header_is_told_with_one_mark(tmp_path, teacher):
    (tmp_path / "x.wav").write_bytes(wav(rate=1))
    with pytest.raises(AudioInputError, match=r"is its header damaged\?$"):
        read(tmp_path / "x.wav", teacher.spec)
