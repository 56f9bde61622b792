"""Contents in pieces, over lines as slow as one likes."""

import pytest

from frami.cluster.pieces import LEAST, MOST, Pieces
from frami.cluster.run_there import RunThere


class Line:
    """One end of it, and a clock that moves by what goes over it, so many bytes a second."""

    def __init__(self, speed):
        self.speed, self.now, self.longest, self.there = speed, 0.0, 0.0, RunThere()

    def ask(self, method, *arguments):
        answer = getattr(self.there, method)(*arguments)
        spent = 0.1 + max(len(one) for one in (*arguments, answer) if isinstance(one, bytes)) / self.speed
        self.now, self.longest = self.now + spent, max(self.longest, spent)
        return answer


@pytest.fixture
def line(tmp_path, monkeypatch):
    def line(speed):
        one = Line(speed)
        one.there._base = tmp_path
        return one, Pieces(one.ask, clock=lambda: one.now)

    return line


@pytest.mark.parametrize(("speed", "size"), [(10_000, LEAST), (1e9, MOST)])
def test_a_piece_takes_seconds_on_any_line(line, tmp_path, speed, size):
    """So that hundreds of seconds are no sign that nobody is there."""
    content = bytes(range(256)) * 50_000
    (tmp_path / "file").write_bytes(content)
    one, pieces = line(speed)
    pieces.give("state.pt", content)
    pieces.give("bank/file", tmp_path / "file")
    pieces.give("empty", b"")
    there = tmp_path / "received"
    assert (there / "state.pt").read_bytes() == (there / "bank/file").read_bytes() == content
    assert (there / "empty").read_bytes() == b"" and pieces.size == size and one.longest < 30
    one.there._large = {"state.pt": content}
    assert b"".join(pieces.take("state.pt", len(content))) == content and not list(pieces.take("state.pt", 0))


def test_one_that_becomes_slow_gets_smaller_pieces(line):
    one, pieces = line(1e9)
    pieces.give("state.pt", bytes(MOST * 4))
    one.speed = 100_000
    pieces.give("state.pt", bytes(MOST * 2))
    assert LEAST < pieces.size < MOST and one.longest < 50
    with pytest.raises(ValueError, match="another length"):
        one.there._large = {"state.pt": b"short"}
        list(pieces.take("state.pt", 6))
