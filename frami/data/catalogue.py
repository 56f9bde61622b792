"""The data sets that the engine knows, a row each: layout, classes, folds, licence, where to get them."""

from collections.abc import Sequence

from frami.data import audiomnist
from frami.data.dataset import Archive, DatasetInfo
from frami.data.readers import digit_files, split_lists, table, union

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Its five categories, in the order of ``target`` in esc50.csv: ten classes each.
_ESC50_GROUPS: dict[str, tuple[str, ...]] = {
    "animals": ("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    "natural soundscapes and water": (
        *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
        *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    ),
    "human, non-speech": (
        *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
        *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    ),
    "interior and domestic": (
        *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
        *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    ),
    "exterior and urban": (
        *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
        *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
    ),
}

_ESC50 = tuple(name for group in _ESC50_GROUPS.values() for name in group)

_ESC10 = (
    *("dog", "rooster", "rain", "sea_waves", "crackling_fire"),
    *("crying_baby", "sneezing", "clock_tick", "helicopter", "chainsaw"),
)

# In the order of ``classID`` in UrbanSound8K.csv.
_URBAN = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)

# ESC-10 is a part of ESC-50.
_ESC = {
    "subject": "everyday sounds",
    "folder": "ESC-50",
    "index_file": "meta/esc50.csv",
    "folds": ("1", "2", "3", "4", "5"),
    "test_fold": "1",
    "homepage": "https://github.com/karolpiczak/ESC-50",
    "citation": "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
    "archives": (
        Archive(
            url="https://github.com/karolpiczak/ESC-50/archive/33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
            checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
            size=645_832_161,
            file="ESC-50-33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
            unpacked=882_088_000,
        ),
    ),
}

AUDIOMNIST_FOLDS: dict[str, frozenset[int]] = {
    "1": frozenset({26, 52, 60, 18, 32, 42, 5, 13, 22, 33, 45, 51}),
    "2": frozenset({28, 56, 7, 19, 35, 1, 6, 16, 23, 34, 46, 53}),
    "3": frozenset({36, 57, 9, 24, 37, 2, 8, 17, 29, 39, 48, 54}),
    "4": frozenset({43, 58, 14, 25, 38, 3, 10, 20, 30, 40, 49, 55}),
    "5": frozenset({12, 47, 59, 15, 27, 41, 4, 11, 21, 31, 44, 50}),
}
"""Test speakers of each fold of AudioMNIST's digit task, in the order of its authors' ``preprocess_data.py``.

Their own split of fold *k* validates on fold *k* − 1 (fold 1 on fold 5) and trains on the other three.
"""

_AUDIOMNIST_FOLD = {f"{speaker:02d}": fold for fold, speakers in AUDIOMNIST_FOLDS.items() for speaker in speakers}

_FSDD_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

# In the order of their folders' names.
_COMMANDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy"),
    *("house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop"),
    *("three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)

# The digits are a part of Speech Commands; its archive has no folder around it.
_SPEECH = {
    "folder": "SpeechCommands",
    "index_file": "testing_list.txt",
    "reader": split_lists({"validation": "validation_list.txt", "testing": "testing_list.txt"}, rest="train"),
    "folds": ("train", "validation", "testing"),
    "fold_kind": "split",
    "test_fold": "testing",
    "validation_folds": ("validation",),
    "licence": "CC BY 4.0",
    "homepage": "https://www.tensorflow.org/datasets/catalog/speech_commands",
    "citation": "P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv 1804.03209",
    "archives": (
        Archive(
            url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            size=2_428_923_189,
            file="speech_commands_v0.02.tar.gz",
            unpacked=3_400_000_000,  # at most: 105,829 clips of at most a second of 16 kHz, and background noise
        ),
    ),
}

_DIGIT_TRAINING = {"crop": 1.2, "mixup": 0.25, "warp": 0.12, "stretch": 0.2}

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="fsdd",
            subject="spoken digits",
            title="Free Spoken Digit Dataset",
            folder="fsdd",
            index_file="recordings",
            reader=digit_files("recordings/*", {speaker: speaker for speaker in _FSDD_SPEAKERS}),
            classes=_DIGITS,
            folds=_FSDD_SPEAKERS,
            fold_kind="speaker",
            test_fold="theo",
            clips=3000,
            training={"epochs": 40} | _DIGIT_TRAINING,
            for_vocoder=True,
            licence="CC BY-SA 4.0",
            homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
            citation="Z. Jackson et al., Free Spoken Digit Dataset, v1.0.10, doi:10.5281/zenodo.1342401",
            archives=(
                Archive(
                    url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
                    checksum="sha256:c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b",
                    size=16_419_872,
                    file="free-spoken-digit-dataset-1.0.10.zip",
                    unpacked=21_128_848,
                ),
            ),
            note="v1.0.10; earlier releases have fewer speakers (v1.0.9: 5, 2,500 clips)",
        ),
        DatasetInfo(
            name="audiomnist",
            subject="spoken digits",
            title="AudioMNIST",
            folder="AudioMNIST",
            index_file="data",
            reader=digit_files("data/*/*", _AUDIOMNIST_FOLD),
            speakers=audiomnist.speakers,
            classes=_DIGITS,
            folds=tuple(AUDIOMNIST_FOLDS),
            fold_kind="speaker fold",
            test_fold="1",
            clips=30_000,
            training={"epochs": 12} | _DIGIT_TRAINING,
            licence="MIT",
            homepage="https://github.com/soerenab/AudioMNIST",
            citation="S. Becker et al., AudioMNIST: Exploring Explainable Artificial Intelligence for audio analysis "
            "on a simple benchmark, Journal of the Franklin Institute 361(1), 2024",
            archives=(
                Archive(
                    url="https://github.com/soerenab/AudioMNIST/archive/630d7dab4c040882834de6fa21baf9a60372accd.zip",
                    checksum="sha256:f0420069d684baff1688658d1ba53316f9b3f742a7d0ab2963a064c591f9c573",
                    size=996_621_372,
                    file="AudioMNIST-630d7dab4c040882834de6fa21baf9a60372accd.zip",
                    unpacked=1_851_988_532,
                ),
            ),
        ),
        DatasetInfo(
            name="speechcommands-digits",
            subject="spoken digits",
            title="Speech Commands, digits",
            classes=_DIGITS,
            clips=38_908,
            training={"epochs": 12} | _DIGIT_TRAINING,
            note="v0.02; its ten digit words",
            **_SPEECH,
        ),
        DatasetInfo(
            name="speechcommands",
            subject="spoken words",
            title="Speech Commands",
            classes=_COMMANDS,
            clips=105_829,
            training={"epochs": 12} | _DIGIT_TRAINING,
            note="v0.02",
            **_SPEECH,
        ),
        DatasetInfo(
            name="esc10",
            title="ESC-10",
            reader=table("audio/{filename}", label="category", source="src_file", only="esc10"),
            classes=_ESC10,
            clips=400,
            training={"epochs": 200},
            for_vocoder=True,
            licence="CC BY 3.0",
            **_ESC,
        ),
        DatasetInfo(
            name="esc50",
            title="ESC-50",
            reader=table("audio/{filename}", label="category", source="src_file"),
            classes=_ESC50,
            clips=2000,
            training={"epochs": 100, "crop": 3.0},
            licence="CC BY-NC 3.0",
            groups=_ESC50_GROUPS,
            **_ESC,
        ),
        DatasetInfo(
            name="urbansound8k",
            subject="the sounds of a city",
            title="UrbanSound8K",
            folder="UrbanSound8K",
            index_file="metadata/UrbanSound8K.csv",
            reader=table("audio/fold{fold}/{slice_file_name}", label="class", source="fsID"),
            classes=_URBAN,
            folds=tuple(str(k) for k in range(1, 11)),
            test_fold="10",
            clips=8732,
            training={"epochs": 60},
            for_vocoder=True,
            licence="CC BY-NC 3.0",
            homepage="https://urbansounddataset.weebly.com/urbansound8k.html",
            citation="J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM MM 2014",
            archives=(
                Archive(
                    url="https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
                    checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
                    size=6_023_741_708,
                    file="UrbanSound8K.tar.gz",
                ),
            ),
            note="its readme says CC BY-NC 3.0, its Zenodo record CC BY-NC 4.0",
        ),
    )
}

_DIGIT_PARTS = [DATASETS[name] for name in ("fsdd", "audiomnist", "speechcommands-digits")]

DATASETS["digits"] = DatasetInfo(
    name="digits",
    subject="spoken digits",
    title="Spoken digits",
    folder=".",
    index_file="fsdd/recordings",
    reader=union(_DIGIT_PARTS),
    parts=tuple(part.name for part in _DIGIT_PARTS),
    classes=_DIGITS,
    folds=tuple(f"{part.name}/{fold}" for part in _DIGIT_PARTS for fold in part.folds),
    fold_kind="speaker group",
    test_fold="fsdd/theo,audiomnist/1,audiomnist/5,speechcommands-digits/testing",
    validation_folds=("speechcommands-digits/validation",),
    clips=sum(part.clips for part in _DIGIT_PARTS),
    training={"epochs": 40, "versions": 8, "balance": 0.5, "prior": 0.5} | _DIGIT_TRAINING | {"crop": 1.5},
    licence="CC BY-SA 4.0",
    citation="; ".join(part.citation for part in _DIGIT_PARTS),
    note="the parts that are here of: " + ", ".join(f"{part.title} ({part.licence})" for part in _DIGIT_PARTS),
)


def fold_kind(name: str) -> str:
    """The word for a fold of this data set, ``fold`` for one that is not in the catalogue."""
    return DATASETS[name].fold_kind if name in DATASETS else "fold"


def in_words(name: str, folds: Sequence[str]) -> str:
    """Folds of a data set as people say them: their names, or the number of more than two."""
    kind = fold_kind(name)
    return f"{kind} {', '.join(folds)}" if len(folds) <= 2 else f"{len(folds)} {kind}s"
