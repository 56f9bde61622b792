"""Banks on disk: append-only shards, half precision, interruptions at every point, damage, and fifty thousand clips."""

import itertools
import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors import safe_open

import frami.files
from frami import banks, locks
from frami.audio import MelSpec
from frami.banks import folder as bank_folder
from frami.banks import shards
from frami.inversion import Clips, Trajectory

SPEC = MelSpec()
CLASSES = ("one", "two (2)", "three")
SETTINGS = {"teacher": "made", "seconds": (0.2, 0.5), "seed": 0}


def made(count=3, seed=0, shortest=4, longest=9, first=0):
    """Clips with random contents, of random durations; what lies behind an end is not to be stored."""
    rng = torch.Generator().manual_seed(seed)
    target = torch.arange(first, first + count) % len(CLASSES)
    logits = torch.randn(count, len(CLASSES), generator=rng)
    return Clips(
        mels=torch.rand(count, 1, SPEC.n_mels, longest, generator=rng) * 12 - 11,
        lengths=torch.randint(shortest, longest + 1, (count,), generator=rng),
        target=target,
        predicted=logits.argmax(1),
        confidence=logits.softmax(1).gather(1, target[:, None])[:, 0],
        logits=logits,
        pooled=torch.randn(count, 5, generator=rng),
    )


def start(folder, **more):
    return banks.create(folder, SETTINGS, CLASSES, SPEC, **more)


def fill(folder, batches=4, finish=True, **more):
    """A bank of some batches of different sizes, without sounds; returns the clips of each."""
    writer = start(folder, **more)
    parts = []
    for number in range(batches):
        parts.append(made(2 + number, seed=number, first=writer.made))
        writer.append(parts[-1], seconds=number + 1.0)
    if finish:
        writer.finish()
    return parts


def files(folder, pattern="*"):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}


def shard(folder, number):
    return folder / "shards" / f"shard-{number:05d}.safetensors"


def same(bank, parts):
    """Whether a bank holds these clips, up to half precision."""
    assert len(bank) == sum(map(len, parts))
    assert len(bank.manifest["clips"]) == len(bank)
    for name in ("lengths", "target", "predicted", "confidence", "logits", "pooled"):
        assert torch.equal(getattr(bank, name), torch.cat([getattr(part, name) for part in parts])), name
    one = iter(range(len(bank)))
    for part in parts:
        for row in range(len(part)):
            mels, (length,), _ = bank.batch([next(one)])
            assert torch.equal(mels, part.mels[row : row + 1, ..., :length].half().float())


class Tone:
    """A vocoder whose sound says which clip it was made from: its mean level."""

    name = "tone"
    mel_spec = SPEC

    def check(self, spec):
        assert spec == SPEC

    def __call__(self, mels, lengths):
        levels = [-float(mel[0, :, :length].mean()) / 12 for mel, length in zip(mels, lengths, strict=True)]
        return [torch.full((256 * int(n),), level) for n, level in zip(lengths, levels, strict=True)]


# ------------------------------------------------------------------------------------------------ there and back


def test_clips_of_mixed_durations_come_back(tmp_path):
    parts = fill(tmp_path / "bank")
    bank = banks.load(tmp_path / "bank")
    same(bank, parts)
    assert bank.frames.dtype == torch.float16 and len(bank.frames) == int(bank.lengths.sum()), "no padding is stored"
    assert bank.damaged == [] and bank.manifest["complete"] and bank.seconds == 4.0
    assert bank.manifest["settings"] == {"teacher": "made", "seconds": [0.2, 0.5], "seed": 0}
    assert bank.target_accuracy == pytest.approx(float((bank.target == bank.predicted).float().mean()))
    clips = bank.clips()
    joined = Clips.join(parts)
    assert {f.name for f in fields(clips)} == {f.name for f in fields(joined)} and len(clips) == len(joined)
    assert torch.equal(clips.logits, joined.logits) and clips.mels.shape == joined.mels.shape
    entry = bank.manifest["clips"][1]
    assert entry["target_name"] == "two (2)" and entry["file"] is None and bank.sound(1) is None
    assert entry["seconds"] == round(SPEC.seconds(int(bank.lengths[1])), 3)
    assert bank.trajectory(0) is None


def test_a_batch_is_what_a_loop_would_make(tmp_path):
    fill(tmp_path / "bank")
    bank = banks.load(tmp_path / "bank")
    chosen = [7, 0, 3, 3, len(bank) - 1]
    mels, lengths, target = bank.batch(chosen)
    assert mels.dtype == torch.float32 and mels.is_contiguous()
    expected = torch.full((5, 1, SPEC.n_mels, int(lengths.max())), SPEC.floor)
    for row, i in enumerate(chosen):
        begin, end = bank.offsets[i], bank.offsets[i + 1]
        expected[row, 0, :, : end - begin] = bank.frames[begin:end].T.float()
    assert torch.equal(mels, expected) and target.tolist() == [bank.target[i] for i in chosen]
    assert lengths.tolist() == [bank.lengths[i] for i in chosen]
    assert torch.equal(bank.batch(torch.tensor(chosen))[0], mels)
    assert torch.equal(bank.clips(chosen).mels, mels) and torch.equal(
        bank.clips(chosen).predicted, bank.predicted[chosen]
    )
    with pytest.raises(IndexError):
        bank.batch([len(bank)])


def test_half_precision_only_where_the_prediction_stays(tmp_path):
    """A teacher that separates 2.00001 from 2 needs float32; another does not, nor one that predicts something else."""
    clips = made(4)
    clips.mels[2] = 2.0001
    clips.predicted = torch.tensor([0, 0, 1, 0])

    def sharp(mels, lengths):
        assert mels.dtype == torch.float32 and len(mels) == len(lengths)
        return (mels[:, 0, 0, 0] > 2).long()

    for name, predict, kind in (
        ("sharp", sharp, torch.float32),
        ("dull", lambda mels, lengths: (mels[:, 0, 0, 0] > 1).long(), torch.float16),
        ("other", lambda mels, lengths: torch.ones(len(mels)).long(), torch.float16),
        ("none", None, torch.float16),
    ):
        writer = start(tmp_path / name, predict=predict)
        writer.append(clips, seconds=1)
        bank = banks.load(tmp_path / name)
        assert bank.frames.dtype == kind, name
        if predict is sharp:
            assert torch.equal(sharp(*bank.batch(range(4))[:2]), clips.predicted)
            writer.append(made(2), seconds=2)
            assert banks.load(tmp_path / name).frames.dtype == torch.float32
            with safe_open(shard(tmp_path / name, 1), "pt") as file:
                assert file.get_tensor("frames").dtype == torch.float16, "each shard is as small as it may be"


def test_clips_that_are_not_finite_are_refused(tmp_path):
    writer = start(tmp_path / "bank")
    writer.append(made(), seconds=1)
    for name, value in (("mels", torch.nan), ("logits", torch.inf), ("pooled", torch.nan)):
        broken = made()
        getattr(broken, name)[1, 0] = value
        with pytest.raises(banks.BankError, match="batch 2 is not finite"):
            writer.append(broken, seconds=2)
    assert len(banks.load(tmp_path / "bank")) == 3


def test_trajectories_stay_in_their_shards(tmp_path):
    writer = start(tmp_path / "bank")
    writer.append(made(3), seconds=1)
    clips = made(2, first=3)
    states = torch.rand(4, 2, SPEC.n_mels, clips.mels.shape[-1]) * 13 - 11
    writer.append(clips, seconds=2, trajectory=Trajectory([1, 5, 20, 40], states.half()))
    bank = banks.load(tmp_path / "bank")
    assert bank.trajectory(2) is None
    for i in range(2):
        steps, mels = bank.trajectory(3 + i)
        assert steps == [1, 5, 20, 40] and mels.shape == (4, SPEC.n_mels, int(clips.lengths[i]))
        level = (SPEC.ceiling - SPEC.floor) / 255
        assert (mels - states[:, i, :, : mels.shape[-1]]).abs().max() < 0.51 * level + 0.01
    content = bytearray(shard(tmp_path / "bank", 1).read_bytes())
    content[-20] ^= 1
    shard(tmp_path / "bank", 1).write_bytes(content)
    assert len(banks.load(tmp_path / "bank")) == 5, "the clips themselves are whole"
    with pytest.raises(banks.BankError, match="shard-00001"):
        bank.trajectory(4)


def test_earlier_shards_and_sounds_never_change(tmp_path):
    folder = tmp_path / "bank"
    writer = start(folder, vocoder=Tone())
    known = {}
    for number in range(4):
        writer.append(made(2, seed=number), seconds=1, state={"n": number})
        now = files(folder)
        for name, content in known.items():
            assert name.name in ("manifest.json", "resume.pt") or now[name] == content, name
        known = now
    assert {path.name for path in folder.iterdir() if path.suffix != ".wav"} == {
        "manifest.json", "shards", "resume.pt", locks.NAME,
    }  # fmt: skip
    writer.finish()
    assert not (folder / locks.NAME).exists()
    assert not (folder / "resume.pt").exists() and len(list(folder.glob("*.wav"))) == 8


# -------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "empty", "foreign"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_damaged_shard_is_named_and_left_out(tmp_path, harm, number):
    folder = tmp_path / "bank"
    parts = fill(folder, vocoder=Tone())
    path = shard(folder, number)
    content = path.read_bytes()
    if harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 4]) + content[-99:])
    elif harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.write_text("not a shard at all, but a text of some length")
    bank = banks.load(folder)
    assert len(bank.damaged) == 1 and path.name in bank.damaged[0]
    del parts[number]
    same(bank, parts)
    for i in range(len(bank)):
        sound, _ = soundfile.read(bank.sound(i))
        mels, (length,), _ = bank.batch([i])
        assert len(sound) == 256 * int(length) and sound.mean() == pytest.approx(-float(mels.mean()) / 12, abs=1e-3)
        assert bank.trajectory(i) is None


def test_reading_again_and_again_leaves_nothing_in_memory(tmp_path):
    folder, clips = tmp_path / "bank", made(2)
    states = torch.rand(4, 2, SPEC.n_mels, clips.mels.shape[-1]) * 13 - 11
    start(folder).append(clips, seconds=1, trajectory=Trajectory([1, 5, 20, 40], states.half()))

    def kept(times):
        before = sys.getallocatedblocks()
        for _ in range(times):
            shards.read(shard(folder, 0))
            shards.read_trajectory(shard(folder, 0), 0, SPEC)
        return sys.getallocatedblocks() - before

    kept(20)
    assert kept(100) < 100


def test_every_byte_of_a_shard_is_watched(tmp_path):
    """A flipped byte of the header is noticed as well, or changes nothing."""
    path = tmp_path / "shard"
    content = shards.pack(clips := made(1, longest=4), shards.flat(clips).half(), 12, SPEC)
    for at in range(len(content) - clips.mels.numel() * 2):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 + at % 255)]) + content[at + 1 :])
        try:
            read = shards.read(path)
        except shards.Damaged:
            continue
        assert read.first == 12 and torch.equal(read.frames, shards.flat(clips).half()), at
        assert torch.equal(read.logits, clips.logits) and torch.equal(read.target, clips.target), at


def test_values_that_are_not_finite_are_damage(tmp_path):
    fill(tmp_path / "bank")
    broken = made(3)
    broken.logits[1, 1] = torch.inf
    shard(tmp_path / "bank", 1).write_bytes(shards.pack(broken, shards.flat(broken).half(), 2, SPEC))
    bank = banks.load(tmp_path / "bank")
    assert len(bank) == 2 + 4 + 5 and "shard-00001" in bank.damaged[0] and "finite" in bank.damaged[0]


def test_a_bank_without_any_whole_shard_is_an_error(tmp_path):
    fill(tmp_path / "bank", batches=1)
    shard(tmp_path / "bank", 0).write_bytes(b"x")
    with pytest.raises(banks.BankError, match=r"shard-00000\.safetensors"):
        banks.load(tmp_path / "bank")
    start(tmp_path / "fresh")
    with pytest.raises(banks.BankError, match="no batch"):
        banks.load(tmp_path / "fresh")
    for text, word in (("{", "damaged"), ('{"format": 2}', "damaged"), ('{"format": 9}', "newer"), ("[]", "damaged")):
        (tmp_path / "bank" / "manifest.json").write_text(text)
        with pytest.raises(banks.BankError, match=word) as caught:
            banks.load(tmp_path / "bank")
        assert "manifest.json" in str(caught.value)


# ------------------------------------------------------------------------------------------------- interruptions


def test_an_interrupted_run_goes_on_with_its_state(tmp_path):
    writer = start(tmp_path / "bank")
    assert (writer.made, writer.batches, writer.state, writer.complete) == (0, 0, None, False)
    state = {"bank": {"rows": torch.randn(3, 4), "next": 2}, "heads": [torch.ones(2)], "share": 0.5}
    writer.append(made(3), seconds=10.0, state=state)
    again = start(tmp_path / "bank")
    assert (again.made, again.batches, again.complete, again.seconds) == (3, 1, False, 10.0)
    assert torch.equal(again.state["bank"]["rows"], state["bank"]["rows"]) and again.state["share"] == 0.5
    assert not banks.load(tmp_path / "bank").manifest["complete"]
    again.append(made(2, seed=1, first=3), seconds=1.5, state=state)
    again.finish()
    assert not (tmp_path / "bank" / "resume.pt").exists()
    bank = banks.load(tmp_path / "bank")
    same(bank, [made(3), made(2, seed=1, first=3)])
    assert bank.seconds == 11.5, "the time of both runs"
    there = start(tmp_path / "bank")
    assert there.complete and there.made == 5
    with pytest.raises(banks.BankError, match="finished"):
        there.append(made(), seconds=1)


def interrupted(folder, batches=3):
    """An unfinished bank with states; returns what ``resume.pt`` held after each batch."""
    writer, states = start(folder), []
    for number in range(batches):
        writer.append(made(2, seed=number), seconds=number + 1.0, state={"batch": number})
        states.append((folder / "resume.pt").read_bytes())
    return states


def test_a_shard_ahead_of_its_state_is_made_again(tmp_path):
    folder = tmp_path / "bank"
    states = interrupted(folder)
    (folder / "resume.pt").write_bytes(states[1])
    writer = start(folder)
    assert (writer.batches, writer.made, writer.state, writer.seconds) == (2, 4, {"batch": 1}, 2.0)
    assert not shard(folder, 2).exists()
    assert len(banks.load(folder)) == 4 and banks.load(folder).damaged == []
    writer.append(made(2, seed=2), seconds=3, state={"batch": 2})
    same(banks.load(folder), [made(2, seed=number) for number in range(3)])


def test_a_state_ahead_of_its_shard_is_not_used(tmp_path):
    folder = tmp_path / "bank"
    interrupted(folder)
    shard(folder, 2).unlink()
    writer = start(folder)
    assert (writer.batches, writer.made, writer.state) == (2, 4, None)


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped", "foreign"])
def test_without_a_whole_state_the_run_goes_on_behind_the_last_whole_shard(tmp_path, harm):
    folder = tmp_path / "bank"
    writer = start(folder)
    for number in range(3):
        writer.append(made(2, seed=number), seconds=1, state={"rows": torch.arange(1000.0)})
    path = folder / "resume.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-300], "flipped": content, "foreign": b"no state"}[harm])
    writer = start(folder)
    assert (writer.batches, writer.made, writer.state) == (3, 6, None)
    same(banks.load(folder), [made(2, seed=number) for number in range(3)])


def test_a_run_goes_on_behind_a_damaged_shard(tmp_path):
    folder = tmp_path / "bank"
    interrupted(folder)
    shard(folder, 1).write_bytes(b"x")
    writer = start(folder)
    assert (writer.batches, writer.made, writer.state) == (3, 6, {"batch": 2})
    assert len(writer.damaged) == 1 and "shard-00001" in writer.damaged[0]
    writer.append(made(2, seed=3), seconds=4)
    same(banks.load(folder), [made(2, seed=number) for number in (0, 2, 3)])
    shard(folder, 3).write_bytes(b"x")
    writer = start(folder)
    assert (writer.batches, writer.made) == (3, 6), "a damaged end is made again"


class Killed(BaseException):
    """What a kill looks like from within: nothing catches it."""


def killed_at(monkeypatch, nth, action, *args, **kwargs):
    """Run ``action`` and end it just before its nth change of a file's name or removal; whether that came."""
    count = itertools.count()
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            original = getattr(Path, name)

            def step(self, *args, original=original, **kwargs):
                counted = not self.name.endswith(".tmp") or original.__name__ == "replace"
                if counted and next(count) >= nth:
                    raise Killed
                return original(self, *args, **kwargs)

            patch.setattr(Path, name, step)
        try:
            action(*args, **kwargs)
        except Killed:
            return True
    return False


def test_a_kill_at_any_point_of_a_save_loses_that_batch_only(tmp_path, monkeypatch):
    parts = [made(2, seed=number) for number in range(3)]
    for nth in range(20):
        folder = tmp_path / f"bank-{nth}"
        writer = start(folder, vocoder=Tone())
        for number in range(2):
            writer.append(parts[number], seconds=1, state={"batch": number})
        came = killed_at(monkeypatch, nth, writer.append, parts[2], seconds=1, state={"batch": 2})
        bank = banks.load(folder)
        same(bank, parts[: len(bank) // 2])
        assert len(bank) >= 4 and bank.damaged == [] and (came or len(bank) == 6)
        again = start(folder, vocoder=Tone())
        assert again.state == {"batch": again.batches - 1}
        for number in range(again.batches, 3):
            again.append(parts[number], seconds=1, state={"batch": number})
        killed = killed_at(monkeypatch, nth, again.finish)
        same(banks.load(folder), parts)
        assert killed or start(folder, vocoder=Tone()).complete
        assert all(banks.load(folder).sound(i).is_file() for i in range(6))
        if not came and not killed:
            assert nth >= 3
            return
    pytest.fail("a save has not so many steps")


@pytest.mark.parametrize("what", ["replace", "fsync"])
def test_a_full_disk_is_reported_and_loses_one_batch(tmp_path, monkeypatch, what):
    writer = start(tmp_path / "bank")
    writer.append(made(2), seconds=1, state={"batch": 0})

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if what == "replace" else frami.files.os, what, full)
        with pytest.raises(frami.files.FullError, match="No space left"):
            writer.append(made(2, seed=1), seconds=2, state={"batch": 1})
    hidden = [path.name for path in (tmp_path / "bank").rglob(".*")]
    assert hidden == [locks.NAME], "the half-written file does not fill the disk"
    same(banks.load(tmp_path / "bank"), [made(2)])
    writer.append(made(2, seed=1), seconds=2, state={"batch": 1})
    same(banks.load(tmp_path / "bank"), [made(2), made(2, seed=1)])


# ------------------------------------------------------------------------------------------------- other banks


def test_another_bank_stays_unless_it_may_go(tmp_path):
    folder = tmp_path / "bank"
    fill(folder)
    before = files(folder)
    for change, word in (
        ({"settings": SETTINGS | {"seed": 1}}, "seed"),
        ({"classes": (*CLASSES[:2], "four")}, "classes"),
        ({"vocoder": Tone()}, "vocoder"),
        ({"spec": MelSpec(clamp=1e-4)}, "mel_spec"),
    ):
        given = {"settings": SETTINGS, "classes": CLASSES, "spec": SPEC} | change
        with pytest.raises(banks.BankError, match=f"other settings.*{word}.*--overwrite"):
            banks.create(folder, **given)
    assert files(folder) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(banks.BankError, match="not empty"):
        start(tmp_path / "mine")
    for path in (tmp_path / "mine" / "thesis.txt", tmp_path / "mine" / "thesis.txt" / "below"):
        with pytest.raises(banks.BankError, match=r"thesis\.txt"):
            start(path)
    writer = start(tmp_path / "mine", overwrite=True)
    writer.append(made(), seconds=1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    same(banks.load(tmp_path / "mine"), [made()])


def test_an_old_bank_stays_until_the_first_batch_of_the_new_one(tmp_path):
    folder = tmp_path / "bank"
    parts = fill(folder, vocoder=Tone())
    (folder / "001_my_own.wav").write_text("not a sound of the bank")
    writer = banks.create(folder, {"other": 1}, CLASSES, SPEC, Tone(), overwrite=True)
    same(banks.load(folder), parts)
    with pytest.raises(banks.BankError, match="nothing was made"):
        writer.finish()
    same(banks.load(folder), parts)
    writer.append(made(2, seed=9), seconds=1, state={"n": 1})
    same(banks.load(folder), [made(2, seed=9)])
    sounds = {path.name for path in folder.glob("*.wav")}
    assert sounds == {"000_one.wav", "001_two_2_.wav", "001_my_own.wav"}, "no stale sound stays"
    writer.append(made(2, seed=10), seconds=2)
    writer.finish()
    same(banks.load(folder), [made(2, seed=9), made(2, seed=10)])
    assert not (folder / ".new").exists()


def test_a_replacement_that_was_cut_off_is_finished(tmp_path, monkeypatch):
    """Whatever the moment: the old bank as it was, or the new one's first batch, with the right sounds."""
    old = tmp_path / "old"
    parts = fill(old, batches=2, vocoder=Tone())
    seen = set()
    for nth in range(40):
        folder = tmp_path / f"bank-{nth}"
        shutil.copytree(old, folder)
        writer = banks.create(folder, {"other": 1}, CLASSES, SPEC, Tone(), overwrite=True)
        came = killed_at(monkeypatch, nth, writer.append, made(3, seed=9), seconds=1, state={"n": 1})
        bank = banks.load(folder)
        new = "other" in bank.manifest["settings"]
        same(bank, [made(3, seed=9)] if new else parts)
        for i in range(len(bank)):
            mels = bank.batch([i])[0]
            assert soundfile.read(bank.sound(i))[0].mean() == pytest.approx(-float(mels.mean()) / 12, abs=1e-3)
        seen.add(new)
        if not came:
            break
    assert not came and seen == {True, False}


# -------------------------------------------------------------------------------------------------------- size


def test_a_long_run_writes_its_manifest_rarely(tmp_path, monkeypatch):
    sizes = []
    original = bank_folder.write_manifest
    monkeypatch.setattr(
        "frami.banks.writer.write_manifest",
        lambda folder, manifest: (sizes.append(len(manifest["clips"])), original(folder, manifest)),
    )
    writer = start(tmp_path / "bank")
    clips = made(40, shortest=1, longest=1)
    for number in range(100):
        writer.append(clips, seconds=float(number))
    assert sizes[:26] == list(range(0, 1040, 40)), "after every batch while it is small"
    assert len(sizes) < 45 and sum(sizes) < 15 * 4000
    on_disk = json.loads((tmp_path / "bank" / "manifest.json").read_text())
    assert 0.9 * 4000 <= len(on_disk["clips"]) < 4000
    bank = banks.load(tmp_path / "bank")
    assert len(bank.manifest["clips"]) == 4000 and bank.manifest["clips"][3999]["target"] == int(clips.target[-1])
    assert start(tmp_path / "bank").made == 4000
    writer.finish()
    assert len(json.loads((tmp_path / "bank" / "manifest.json").read_text())["clips"]) == 4000


@pytest.mark.slow
def test_fifty_thousand_clips_fit_in_memory_and_each_shard_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(frami.files.os, "fsync", lambda file: None)  # the disk of the test's machine is not the matter
    clips = made(512, shortest=86, longest=86)
    clips.pooled = torch.randn(512, 256)
    writer = start(tmp_path / "bank")
    while writer.made < 50_000:
        writer.append(clips, seconds=1.0)
    writer.finish()
    seen, read = [], shards.read
    monkeypatch.setattr(shards, "read", lambda path: (seen.append(path.name), read(path))[1])
    bank = banks.load(tmp_path / "bank")
    assert len(seen) == len(set(seen)) == writer.made / 512
    held = (bank.frames, bank.offsets, bank.target, bank.predicted, bank.confidence, bank.logits, bank.pooled)
    assert len(bank) >= 50_000 and bank.frames.dtype == torch.float16
    assert sum(tensor.nbytes for tensor in held) < 1e9
    mels, lengths, target = bank.batch([0, 49_999])
    assert torch.equal(mels, clips.mels[[0, 49_999 % 512]].half().float()) and lengths.tolist() == [86, 86]
    assert target.tolist() == [int(clips.target[0]), int(clips.target[49_999 % 512])]
