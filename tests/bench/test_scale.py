"""What workers are worth: the arithmetic of the bench, and its command."""

import json

from tests.helpers.cli import run


def test_one_worker_that_sleeps_is_worth_one(capsys):
    status, out, err = run(capsys, "bench", "scale", "--each", 4, "--seconds", 0.05, "--json")
    value = json.loads(out)
    assert status == 0 and (value["workers"], value["tasks"], value["processes"], value["on"]) == (1, 4, 1, "local"), (
        err
    )
    assert 0 < value["efficiency"] <= 1 and value["task_seconds"] == 0.05


def test_tasks_that_compute(capsys):
    status, out, err = run(capsys, "bench", "scale", "--each", 1, "--tasks", "clips")
    assert status == 0 and out.startswith("1 tasks of ") and "efficiency" in out, err


def test_what_there_is_not_is_refused(capsys):
    status, _, err = run(capsys, "bench", "scale", "--on", "mpi")
    assert status == 2 and "choose local" in err
