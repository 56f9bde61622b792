"""What the engine says of options and commands, in the page's words."""

import re

import pytest

from frami.distill import OBJECTIVES, STUDENTS
from frami.errors import FramiError
from frami.hosting import limits
from frami.hosting.limits import LIFTING
from frami.inversion import RECIPES
from frami.inversion.settings import MOST_SEED
from frami.studio.services import page_words, sent, troubles
from frami.studio.services.distillations import FILES
from frami.studio.services.page_words import worded
from frami.studio.services.sent import SentError
from frami.studio.tabs import distil
from tests.helpers.messages import PACKAGE, raised, trees
from tests.studio.test_troubles import place

__all__ = ["place"]

FOREIGN = re.compile(r"(?<![\w-])--[a-z]")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "the first clips alone took the budget of 20 s; give a larger --budget, fewer --clips or a faster --recipe",
            "the first clips alone took the budget of 20 s; give a longer “Time for each” or a faster recipe",
        ),
        ("x is being written by y; wait until it ends, or choose another --out", "x is being written by y; wait until "
         "it ends"),
        ("x is another run's; choose another --out", "x is another run's"),
        ("x is not empty and holds no bank; choose another --out, or add --overwrite", "x is not empty and holds no "
         "bank"),
        ("'x' cannot be written as ONNX (y); export with --format safetensors", "'x' cannot be written as ONNX (y); "
         "download “Weights and card (zip)”"),
        ("this teacher was exported for 4 clips at once; export it with a free number of clips, or make as many at "
         "once (--batch 4; of a distillation --clips) and none beside", "this teacher was exported for 4 clips at "
         "once; export it with a free number of clips"),
        ("no run '0a'; see those that are here with: frami runs list", "no run '0a'; the list shows those that are "
         "here"),
        ("tick at least one student", "tick at least one student"),
    ],
)  # fmt: skip
def test_advice_names_the_pages_controls(place, said, shown):
    assert troubles.of_run(said) == shown


def test_what_only_the_host_can_do_is_left_out_where_it_is_hosted(place):
    long = "x lasts longer than 60 minutes; cut it into pieces, or set FRAMI_SOUND_SECONDS to more seconds"
    shown = worded(long)
    assert shown == ("x lasts longer than 60 minutes; cut it into pieces" if place == "hosted" else long)
    assert worded(f"too much. {LIFTING}").endswith("or run the studio on your own machine"), "a visitor can do that"


def test_no_message_of_the_engine_shows_an_option_or_a_command(place):
    """Of all that is raised behind the page."""
    texts = [
        text for _, tree in trees("cli", "bench", "hub", "curve.py") for text in raised(tree) if " " in text.strip()
    ]
    foreign = [text for text in texts if FOREIGN.search(text)]
    assert len(foreign) > 20, "there are such messages"
    for text in texts:
        shown = worded(text)
        assert shown and not FOREIGN.search(shown), (text, shown)
        if place == "hosted":
            assert not page_words._COMMAND.search(shown), (text, shown)
        if text not in foreign and place == "own":
            assert shown == text or "frami runs list" in text


def test_names_in_quotes_stand_on_the_page():
    source = "".join(path.read_text() for path in (PACKAGE / "studio" / "tabs").glob("*.py")) + repr(FILES)
    for name in re.findall("“(.+?)”", "".join(page_words.WORDS.values())):
        assert f'"{name}"' in source or f"'{name}'" in source, name


def test_bounds_are_said_as_they_are_typed():
    with pytest.raises(SentError, match=f"seed is outside of 0 to {MOST_SEED}$"):
        sent.number(-1, "seed", 0, MOST_SEED)
    with pytest.raises(SentError, match=r"s is outside of 0\.2 to 5$"):
        sent.number(9, "s", 0.2, 5.0)


@pytest.mark.parametrize("value", [1, 2.5, 90_000, None, "x"])
def test_the_time_for_each_is_what_is_allowed_here(place, value):
    allowed = limits.Limits({"budget": 600, "runs_at_once": 6}) if place == "hosted" else limits.NONE
    with pytest.raises(FramiError, match=f"from 2 to {600 if place == 'hosted' else 86400}$"):
        distil.requests("fsdd", ["nano"], ["frami"], ["cmi"], value, 0, (), allowed)
    many = ([*STUDENTS][:4], [*OBJECTIVES][:4], [*RECIPES][:2])
    with pytest.raises(FramiError, match=f"these would be 32 runs; untick some: {6 if place == 'hosted' else 24} at"):
        distil.requests("fsdd", *many, 30, 0, (), allowed)
