"""A data set is one row of the catalogue: with it, recordings are listed, loaded, learnt from and measured."""

import csv
import json

import pytest
import soundfile

from frami import cli, data, evaluation, teachers
from frami.data.catalogue import DATASETS, fold_kind
from frami.data.dataset import DatasetInfo
from frami.data.download import DownloadError, download
from frami.data.readers import table
from frami.studio import components
from tests.helpers.recordings import RATE, tone

BELLS = DatasetInfo(
    name="bells",
    title="Bells",
    folder="bells",
    index_file="clips.csv",
    reader=table("{room}/{file}", label="bell", source="strike"),
    classes=("small", "large"),
    folds=("1", "2"),
    fold_kind="room",
    test_fold="2",
    clips=8,
    licence="CC0-1.0",
    subject="bells",
)


@pytest.fixture
def bells(tmp_path, monkeypatch):
    """Folder with a toy data set that the catalogue knows."""
    monkeypatch.setitem(DATASETS, "bells", BELLS)
    folder = tmp_path / "data" / "bells"
    folder.mkdir(parents=True)
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "bell", "fold", "room", "strike"])
        for room, fold in (("hall", "1"), ("yard", "2")):
            (folder / room).mkdir()
            for take in range(4):
                rows.writerow([f"{take}.wav", BELLS.classes[take % 2], fold, room, take])
                soundfile.write(folder / room / f"{take}.flac", tone(5 * (take % 2), seed=take), RATE)
    return folder.parent


def test_one_row_goes_the_whole_way(bells, tmp_path, capsys):
    assert [clip.label for clip in data.index("bells", bells)] == [0, 1] * 4
    assert len(data.load("bells", "train", bells)) == 4
    card = teachers.train_teacher("bells", tmp_path / "it", data_folder=bells, size="nano", epochs=1, batch=2)
    assert (card.classes, card.clips, card.data_licence) == (BELLS.classes, 4, "CC0-1.0")
    assert card.training["crop"] == 2.5, "without settings of its own it takes the usual ones"
    measured = evaluation.evaluate(tmp_path / "it", data_folder=bells)
    assert measured.accuracy == pytest.approx(card.accuracy, abs=1e-4)
    assert "accuracy on room 2" in components.teacher_facts(card)
    assert cli.main(["data", "list", "--json", "--data", str(bells)]) == 0
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "bells"]
    assert row["here"] == 8


def test_without_an_archive_it_cannot_be_downloaded(bells, tmp_path, capsys):
    with pytest.raises(DownloadError, match="Bells"):
        download("bells", tmp_path / "elsewhere")
    assert cli.main(["data", "list", "--data", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("bells")]
    assert line.endswith("not here")
    with pytest.raises(data.DataError) as caught:
        data.index("bells", tmp_path / "elsewhere")
    assert "download" not in str(caught.value)


def test_folds_have_their_word():
    assert {name: fold_kind(name) for name in ("fsdd", "audiomnist", "esc50", "another")} == {
        "fsdd": "speaker",
        "audiomnist": "speaker fold",
        "esc50": "fold",
        "another": "fold",
    }
