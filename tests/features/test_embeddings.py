"""Real clips in a teacher's feature space."""

import pytest
import torch

from frami import checkpoints
from frami.data import DataError
from frami.errors import FramiError
from frami.features import embeddings


def test_clips_are_embedded_in_their_order(tiny_teacher, make_mels):
    teacher, clips = checkpoints.load(tiny_teacher), make_mels(seed=1)
    counted = []
    found = embeddings.embed(teacher, clips, batch=7, progress=lambda *at: counted.append(at))
    assert found.pooled.dtype == torch.float32 and found.logits.shape == (48, 4)
    assert torch.equal(found.labels, clips.labels) and not found.pooled.requires_grad
    for i in (0, 17, 47):
        alone = teacher.model(clips.clip(i)[None, None])
        assert torch.allclose(found.pooled[i], alone.pooled[0], atol=1e-5), "neither padding nor order changes a clip"
    assert counted[0] == (7, 48) and counted[-1] == (48, 48)
    assert float((found.predicted == found.labels).float().mean()) == pytest.approx(teacher.card.accuracy)
    probabilities = found.logits.softmax(1)
    assert found.confidence[5] == probabilities[5, clips.labels[5]]


def test_chosen_clips_only(tiny_teacher, make_mels):
    teacher, clips = checkpoints.load(tiny_teacher), make_mels(seed=1)
    every, some = embeddings.embed(teacher, clips), embeddings.embed(teacher, clips, [9, 2, 30])
    assert torch.allclose(some.pooled, every.pooled[[9, 2, 30]], atol=1e-5)
    assert some.labels.tolist() == clips.labels[[9, 2, 30]].tolist()
    with pytest.raises(FramiError, match="no clip"):
        embeddings.embed(teacher, clips, [])


def test_recordings_are_those_that_evaluate_takes(make_tree, tmp_path):
    speakers = ("theo", "george", "jackson", "nicolas", "yweweler")
    tree = make_tree("fsdd", tmp_path / "data", speakers=speakers, takes=2)
    teacher = checkpoints.load("fsdd")
    assert {clip.fold for clip in embeddings.recordings(teacher, data_folder=tree).clips} == {"theo"}
    assert len(embeddings.recordings(teacher, split="train", data_folder=tree)) == 80
    with pytest.raises(FramiError, match="other classes"):
        embeddings.recordings(teacher, "esc10", data_folder=tree)
    with pytest.raises(DataError):
        embeddings.recordings(teacher, data_folder=tmp_path / "nowhere")
