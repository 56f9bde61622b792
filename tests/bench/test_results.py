"""Results are stored in a file, pages written whole, and neither over a file of another kind."""

import pytest

from frami.bench.pages import mean_sd, picture, plus_minus, table
from frami.bench.results import Results, filling
from frami.errors import FramiError


def test_two_processes_fill_one_file(tmp_path):
    """Each knows only its own measurements when it begins; none is lost."""
    one, other = Results(tmp_path / "all.json"), Results(tmp_path / "all.json")
    one.put("a", {"x": 1})
    other.put("b", {"x": 2})
    one.put("c", {"x": 3})
    assert one.cells == Results(tmp_path / "all.json").cells == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_damaged_results_are_named(tmp_path):
    path = tmp_path / "page.json"
    path.write_text("{")
    with pytest.raises(FramiError, match=r"page\.json"):
        Results(path)


def test_a_page_is_written_where_something_is_new(tmp_path):
    out = tmp_path / "page.md"

    def fill(*keys, stop=False):
        with filling(out, "vocoder", lambda results: ["# Vocoders", *results.cells]) as results:
            for key in keys:
                results.put(key, {})
            if stop:
                raise KeyboardInterrupt

    fill("a")
    assert out.read_text() == "# Vocoders\na\n"
    with pytest.raises(KeyboardInterrupt):
        fill("b", stop=True)
    assert out.read_text() == "# Vocoders\na\nb\n"
    before = out.stat().st_mtime_ns
    with pytest.raises(KeyboardInterrupt):
        fill(stop=True)
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"my own", b"# Vocoders of another kind\n", b"\xff\xfe"])
def test_no_page_is_written_over_another_file(tmp_path, content):
    (tmp_path / "page.md").write_bytes(content)
    with pytest.raises(FramiError, match="no page 'Vocoders'"), filling(tmp_path / "page.md", "vocoder", list):
        pytest.fail("nothing is measured before")
    assert (tmp_path / "page.md").read_bytes() == content


def test_tables_and_spreads():
    assert table(["a", "b"], [["1", "2"]]) == ["", "| a | b |", "|---|---|", "| 1 | 2 |"]
    assert plus_minus(*mean_sd([1, 2])) == "1.5 ± 0.7" and plus_minus(*mean_sd([1])) == "1.0"
    assert plus_minus(*mean_sd([])) == "–" and plus_minus(0.5, 0.25, "+.2f") == "+0.50 ± 0.25"


def test_a_picture_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(FramiError, match="cannot be written"), picture(tmp_path / "bars.soup", 2, 2) as axes:
        axes.plot([0, 1])
    assert not list(tmp_path.iterdir())
