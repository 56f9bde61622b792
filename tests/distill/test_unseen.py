"""Clips that a student does not learn from: which they are, and that they only measure."""

from dataclasses import replace

import torch

from frami import banks, checkpoints
from frami.distill import Settings, distill
from frami.distill.unseen import ENOUGH, Unseen, agreement, shipped_clips
from frami.paths import ASSETS


def test_shipped_clips_are_of_another_recipe_and_of_these_weights():
    teacher = checkpoints.load("fsdd")
    assert shipped_clips(teacher).manifest["settings"]["recipe"] == "cmi"
    assert shipped_clips(teacher, recipe="cmi").manifest["settings"]["recipe"] == "dafl"
    learnt = ASSETS / "explore" / "fsdd" / "cmi"
    assert shipped_clips(teacher, learnt).manifest["settings"]["recipe"] == "dafl", "never those that are learnt from"
    forged = replace(teacher, card=replace(teacher.card, sha256="0" * 64))
    assert shipped_clips(forged) is None, "of other weights"


def test_few_clips_of_ones_own_give_way_and_many_do_not():
    teacher = checkpoints.load("fsdd")
    bank = banks.load(ASSETS / "explore" / "fsdd" / "frami")
    unseen = Unseen(teacher, int(bank.lengths.max()), shipped_clips(teacher))
    unseen.own.add(*bank.batch(range(4)))
    assert unseen.clips is not unseen.own and len(unseen.clips) == 100
    counted = unseen.confusion(teacher.model)
    assert counted.sum() == 100 and agreement(counted) == 1, "it agrees with itself"
    unseen.own.add(*bank.batch(range(4, ENOUGH)))
    assert unseen.clips is unseen.own and unseen.confusion(teacher.model).sum() == ENOUGH


def test_what_measures_changes_no_student():
    teacher = checkpoints.load("fsdd")
    settings = Settings(student="nano", source="bank", budget=None, rounds=1, steps=3, batch=8)
    bank = banks.load(ASSETS / "explore" / "fsdd" / "frami")
    ends = []
    for spare in (None, shipped_clips(teacher)):
        *_, last = distill(teacher, settings, bank, spare=spare)
        ends.append((torch.cat([p.flatten() for p in last.student.parameters()]), int(last.compared.sum())))
    assert torch.equal(ends[0][0], ends[1][0]) and [count for _, count in ends] == [13, 100]
