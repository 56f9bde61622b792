"""Networks on people that they never heard: which clips count, and the page."""

import json

import pytest
import torch

from frami import checkpoints, models
from frami.bench import strangers
from frami.bench.results import Context, silent
from frami.data.catalogue import DATASETS
from tests.helpers.cli import run


@pytest.fixture(scope="module")
def folder(make_tree, tmp_path_factory):
    """Digits of three corpora, by 2, 3 and 3 speakers; and sounds, which no network of digits knows."""
    root = tmp_path_factory.mktemp("data")
    make_tree("fsdd", root, speakers=("theo", "george"))
    make_tree("audiomnist", root, speakers=(1, 26, 28))
    make_tree("speechcommands-digits", root, words=("zero", "one", "nine"))
    return make_tree("esc50", root)


@pytest.fixture
def here(folder, fresh_home):
    from contextlib import nullcontext

    return Context(torch.device("cpu"), str(folder), lambda unit, label: nullcontext(silent))


@pytest.fixture
def network(tmp_path, make_card):
    """``network(name, dataset, split, **card)``: the path of an untrained one."""

    def make(name, dataset, split, **fields):
        torch.manual_seed(0)
        model = models.build("nano", len(DATASETS[dataset].classes)).eval()
        classes = DATASETS[dataset].classes
        card = make_card(model, name, dataset=dataset, classes=classes, split=split, title=name, **fields)
        checkpoints.save(tmp_path / name, model, card)
        return tmp_path / name

    return make


def test_the_bundled_digits_are_the_rows_and_their_corpora_the_columns(here):
    names = strangers.networks()
    assert {"fsdd", "fsdd-tiny"} <= set(names) and names.index("fsdd") + 1 == names.index("fsdd-tiny")
    assert not {"esc10", "urbansound8k"} & set(names)
    cards = [checkpoints.load(name).card for name in names]
    assert strangers.datasets(cards, here) == ["fsdd", "audiomnist", "speechcommands-digits"]


def test_data_sets_whose_clips_others_have_are_no_columns(here, network):
    """ESC-50's classes that a network of ESC-10 knows are those of ESC-10."""
    sounds = checkpoints.load(network("sounds", "esc10", {"train": ["2"], "test": ["1"]})).card
    assert strangers.datasets([sounds], here) == ["esc10"]
    wide = checkpoints.load(network("wide", "esc50", {"train": ["2"], "test": ["1"]})).card
    assert strangers.datasets([wide], here) == ["esc10", "esc50"]


def test_which_clips_count(here, network):
    """Of its own data set the held-out ones; of others all but those of its training."""
    one = network("one", "fsdd", {"train": ["george"], "test": ["theo"]})
    other = network("other", "audiomnist", {"train": ["1"], "test": ["2"]})
    value = strangers.compare([one, other], None, here)
    cells = {(cell["checkpoint"], cell["dataset"]): cell for cell in value["cells"]}
    assert [(c["clips"], c["speakers"], c["which"]) for c in (cells["one", "fsdd"], cells["one", "audiomnist"])] == [
        (10, 1, "held out: theo"), (30, 3, "all, never heard"),
    ]  # fmt: skip
    assert cells["other", "fsdd"]["clips"] == 20
    assert cells["other", "audiomnist"]["which"] == "held out: 2"
    assert cells["one", "speechcommands-digits"]["clips"] == 9
    shared = {(row["checkpoint"], row["dataset"]): row for row in value["common"]}
    assert shared["one", "fsdd"]["clips"] == shared["other", "fsdd"]["clips"] == 10, "theo alone"
    assert ("one", "speechcommands-digits") not in shared, "there all clips count for both"
    for cell in value["cells"]:
        low, high = cell["interval"]
        assert low <= cell["accuracy"] <= high and cell["interval_over_speakers"] is None, "fewer than five speakers"


def test_a_part_that_was_trained_on_is_left_out(here, network):
    """A network of ESC-10 on ESC-50, in which its training clips are."""
    sounds = network("sounds", "esc10", {"train": ["2"], "test": ["1"]})
    (cell,) = strangers.compare([sounds], ["esc50"], here)["cells"]
    assert (cell["clips"], cell["heard"], cell["which"]) == (2, 2, "without the 2 of its training")
    assert strangers.compare([sounds], ["fsdd"], here)["cells"] == [], "nothing in common"


def test_without_a_data_set_there_is_no_table(capsys, fresh_home, tmp_path):
    status, out, err = run(capsys, "bench", "strangers", "--data", tmp_path, "--out", tmp_path / "page.md")
    assert status == 2 and str(tmp_path) in err and "frami data list" in err and err.count("\n") == 1
    assert not out and not (tmp_path / "page.md").exists()


def test_the_command_and_its_page(capsys, folder, fresh_home, tmp_path):
    out = tmp_path / "page" / "strangers.md"
    arguments = ["bench", "strangers", "--checkpoints", "fsdd,fsdd-tiny", "--data", folder, "--out", out]
    status, text, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert json.loads(out.with_suffix(".json").read_text()) == value
    assert {cell["dataset"] for cell in value["cells"]} == {"fsdd", "audiomnist", "speechcommands-digits"}
    assert all((cell["agreement"] is None) == (cell["checkpoint"] == "fsdd") for cell in value["cells"])
    page = out.read_text()
    assert "    frami bench strangers --checkpoints fsdd,fsdd-tiny --data FOLDER\n" in page
    heads, *rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert heads.count("|") == 6 and "AudioMNIST" in heads and rows[0].startswith("| `fsdd` | Free Spoken Digit")
    (tmp_path / "mine.md").write_text("mine")
    status, _, err = run(capsys, *arguments[:-1], tmp_path / "mine.md")
    assert status == 2 and "no page" in err
