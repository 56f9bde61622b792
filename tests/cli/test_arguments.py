"""What is read from the command line: classes of any name, numbers, and what a terminal can show."""

import argparse
import errno
import io
import json
import sys

import pytest

from frami.cli import main
from frami.cli.arguments import aligned, class_numbers, names, seed, whole
from frami.errors import FramiError

CLASSES = ("dog, big", "dog", 'said "no"', "m²", "²", "a/b c", "🐕", "犬", "7")


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_can_be_chosen_alone(name):
    assert class_numbers([name], CLASSES) == [CLASSES.index(name)]


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (['"dog, big",dog'], [0, 1]),
        (["dog, big", "dog"], [0, 1]),
        (["dog,🐕", "²"], [1, 6, 4]),
        (["0, 1"], [0, 1]),
        (['m²,"said ""no"""'], [3, 2]),
        (["7,1"], [8, 1]),  # a name before a number
        (["犬,a/b c"], [7, 5]),
    ],
)
def test_several_classes(given, numbers):
    assert class_numbers(given, CLASSES) == numbers
    assert class_numbers(None, CLASSES) is None


@pytest.mark.parametrize("given", ["9", "-1", "cat", "³", "٣", "1" * 5000, "big", ",", '"'])
def test_a_class_that_there_is_not(given):
    with pytest.raises(FramiError) as error:
        class_numbers([given], CLASSES)
    assert len(str(error.value)) < 300


def test_of_many_classes_some_are_listed():
    with pytest.raises(FramiError, match=r"0 to 499.*class 59 and 440 more") as error:
        class_numbers(["cat"], [f"class {i}" for i in range(500)])
    assert len(str(error.value)) < 1000


def test_names_are_read_as_in_a_csv():
    assert names('a, b ,"c, d",e f') == ["a", "b", "c, d", "e f"]
    for text in ("", " , ", '""'):
        with pytest.raises(argparse.ArgumentTypeError):
            names(text)


@pytest.mark.parametrize("text", ["²", "1.5", "", "1_000", "x", "0x10", "1" * 5000, "-1"])
def test_what_is_no_whole_number(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        whole(0)(text)
    assert len(str(error.value)) < 100
    assert whole(0)("12") == 12 and whole(-5)("-3") == -3


def test_columns_are_narrow_enough_to_read():
    lines = aligned([("x" * 120, "12"), ("b", "3")])
    assert [line[63:] for line in lines] == ["12", "3"]


def test_a_full_disk_is_said_with_what_to_do(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("frami.checkpoints.bundled", full)
    assert main(["teachers"]) == 2
    err = capsys.readouterr().err
    assert "No space left" in err and "make room and give the same command again" in err and err.count("\n") == 1


def test_a_seed_is_one_that_every_generator_takes():
    assert seed("0") == 0 and seed(str(2**32 - 1)) == 2**32 - 1
    with pytest.raises(argparse.ArgumentTypeError, match="above 4294967295"):
        seed(str(2**32))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_the_signs(monkeypatch, encoding):
    """Escapes stand for them; JSON holds them all."""
    printed = {}
    for option in ([], ["--json"]):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["runs", "show", "fsdd-tiny", *option]) == 0
        out.flush()
        printed[bool(option)] = out.buffer.getvalue().decode(encoding)
    assert ("→" if encoding == "utf-8" else r"\u2192") in printed[False]
    assert "metrics" in json.loads(printed[True])


def test_a_name_that_is_no_text_is_reported(monkeypatch):
    """A path of the system in another encoding, as Python hands it over."""
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["synthesize", "--teacher", "nobody\udcff", "--out", "x"]) == 2
    err.flush()
    assert rb"nobody\udcff" in err.buffer.getvalue()
