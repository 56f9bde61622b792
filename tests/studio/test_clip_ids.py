"""Ids of clips: what the page may send, and nothing else."""

import pytest

from frami.errors import FramiError
from frami.studio.services import clip_ids
from frami.studio.services.clip_ids import ClipId

RUN = "0123456789ab"


def test_each_kind_of_id_is_read():
    cases = {
        "gallery/fsdd/3": ClipId("gallery", "fsdd", "", 3, None, None),
        "sample/esc10/0": ClipId("sample", "esc10", "", 0, None, None),
        f"run/{RUN}/12@2~griffin-lim": ClipId("run", RUN, "", 12, 2, "griffin-lim"),
        f"explore/fsdd/{clip_ids.layer_of_run(RUN)}/4": ClipId("explore", "fsdd", f"run-{RUN}", 4, None, None),
        f"{clip_ids.prefix('explore', 'my_teacher-2', 'real')}/7": ClipId(
            "explore", "my_teacher-2", "real", 7, None, None
        ),
    }
    assert {text: clip_ids.parse(text) for text in cases} == cases
    assert clip_ids.run_of_layer(f"run-{RUN}") == RUN


@pytest.mark.parametrize(
    "text",
    [
        None, 3, [], "", "fsdd/3", "bank/fsdd/3", "gallery/fsdd", "gallery/fsdd/x", "gallery/fsdd/-1", "gallery/../3",
        "gallery/a..b/3", "gallery/.fsdd/3", "gallery/fsdd/cmi/3", "explore/fsdd/3", "explore/fsdd/../cmi/3",
        "run/fsdd/3", f"run/{RUN}/3@", f"run/{RUN}/3~bigvgan", f"run/{RUN}/3~", f"run/{RUN}/3~frami~frami",
        "gallery/fsdd/3\n", "gallery/fsdd/٣", "gallery/./3", "gallery/\ud800/3", "sample/fsdd/" + "9" * 5_000,
        f"run/{RUN}/3~{'x' * 5_000_000}",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(FramiError, match="no such"):
        clip_ids.parse(text)


def test_other_layers_are_no_runs():
    assert [clip_ids.run_of_layer(key) for key in ("cmi", "real", "run-..", "run-")] == [None] * 4
