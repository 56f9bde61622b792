"""The facts of the data sets hang together."""

import csv
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from frami.data.catalogue import AUDIOMNIST_FOLDS, DATASETS, in_words

#: Of each set: classes, clips, folds.
SIZES = {
    "fsdd": (10, 3000, 6),
    "audiomnist": (10, 30_000, 5),
    "speechcommands-digits": (10, 38_908, 3),
    "speechcommands": (35, 105_829, 3),
    "esc10": (10, 400, 5),
    "esc50": (50, 2000, 5),
    "urbansound8k": (10, 8732, 10),
    "digits": (10, 71_908, 14),
}


def test_every_set_has_its_published_size():
    assert {n: (len(info.classes), info.clips, len(info.folds)) for n, info in DATASETS.items()} == SIZES


@pytest.mark.parametrize("info", DATASETS.values(), ids=DATASETS)
def test_an_entry_is_whole(info):
    assert DATASETS[info.name] is info
    assert len(set(info.classes)) == len(info.classes)
    assert len(set(info.folds)) == len(info.folds)
    assert set(info.test_folds) | set(info.validation_folds) < set(info.folds)
    assert not set(info.test_folds) & set(info.validation_folds)
    assert info.title and info.licence and info.citation
    assert info.homepage.startswith("https://") or info.parts


@pytest.mark.parametrize("info", DATASETS.values(), ids=DATASETS)
def test_archives_are_pinned(info):
    assert info.archives or info.parts
    for archive in info.archives:
        address = urlsplit(archive.url)
        assert address.scheme == "https" and address.netloc in ("github.com", "zenodo.org", "storage.googleapis.com")
        assert not address.path.endswith(("master.zip", "main.zip"))
        assert archive.file.endswith((".zip", ".tar.gz")) and "/" not in archive.file
        assert archive.size > 0 and archive.unpacked >= 0
        assert archive.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", archive.checksum)


def test_a_set_of_several_takes_them_as_they_are():
    for info in DATASETS.values():
        for part in info.parts:
            assert DATASETS[part].classes == info.classes
            assert {f"{part}/{fold}" for fold in DATASETS[part].folds} <= set(info.folds)


def test_folds_in_words():
    assert in_words("esc50", ["1"]) == "fold 1" and in_words("fsdd", ["theo", "lucas"]) == "speaker theo, lucas"
    assert in_words("digits", DATASETS["digits"].test_folds) == "4 speaker groups"
    assert in_words("somebody's", ["a", "b", "c"]) == "3 folds"


def test_sets_in_one_folder_come_from_the_same_archives():
    parts = {"esc10": "esc50", "speechcommands-digits": "speechcommands"}
    for part, whole in parts.items():
        assert DATASETS[part].folder == DATASETS[whole].folder
        assert DATASETS[part].archives == DATASETS[whole].archives
        assert set(DATASETS[part].classes) < set(DATASETS[whole].classes)
    others = [info.folder for name, info in DATASETS.items() if name not in parts]
    assert len(set(others)) == len(others)


def test_esc10_keeps_the_order_of_esc50():
    order = [DATASETS["esc50"].classes.index(name) for name in DATASETS["esc10"].classes]
    assert order == sorted(order)


def test_audiomnist_folds_partition_the_speakers():
    assert tuple(AUDIOMNIST_FOLDS) == DATASETS["audiomnist"].folds
    assert sorted(speaker for fold in AUDIOMNIST_FOLDS.values() for speaker in fold) == list(range(1, 61))
    assert {len(fold) for fold in AUDIOMNIST_FOLDS.values()} == {12}


@pytest.mark.parametrize(
    ("name", "table", "index", "label"),
    [
        ("esc50", "ESC-50/meta/esc50.csv", "target", "category"),
        ("urbansound8k", "UrbanSound8K/metadata/UrbanSound8K.csv", "classID", "class"),
    ],
)
def test_class_order_is_that_of_the_published_table(name, table, index, label):
    path = Path(os.environ.get("FRAMI_DATA", "")) / table
    if not os.environ.get("FRAMI_DATA") or not path.exists():
        pytest.skip(f"needs real recordings: set FRAMI_DATA to a folder that has {table}")
    with path.open(newline="") as file:
        rows = {(int(row[index]), row[label], row["fold"]) for row in csv.DictReader(file)}
    assert all(DATASETS[name].classes[target] == category for target, category, _ in rows)
    assert {fold for *_, fold in rows} <= set(DATASETS[name].folds)
