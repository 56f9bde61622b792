"""The bundled sounds are small, and the teacher recognises them."""

from frami import audio_input, example_sounds


def test_bundled_sounds_are_small_and_mostly_recognised(teacher):
    found = example_sounds.listed(teacher.classes)
    assert {one.label for one in found} == set(teacher.classes) and len(found) == 20
    assert sum(path.stat().st_size for path in example_sounds.FOLDER.rglob("*.*")) < 300_000
    right = 0
    for one in found:
        ready = audio_input.read(one.path, teacher.spec)
        probabilities = audio_input.predict(teacher, teacher.spec(ready.samples)).probabilities
        right += teacher.classes[int(probabilities.argmax())] == one.label
        assert not ready.notes and abs(float(probabilities.sum()) - 1) < 1e-4
    assert right >= 16
    assert example_sounds.listed(["dog", "siren"]) == []
