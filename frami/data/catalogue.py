"""Facts of the data sets that the engine knows: layout, classes, folds, licence, where to get them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file to download.

    ``checksum`` is as pooch takes it (``md5:…`` or ``sha256:…``). Zenodo publishes one for its files; GitHub packs its
    archives on demand and publishes none, so theirs is what other projects noted of the same pinned commit. ``None``
    where nobody noted one: then every unpacked clip is counted and its header read. ``size`` and ``unpacked`` are
    bytes, 0 when unknown. ``file`` is the name that a browser saves it under, and that a mirror keeps it by.
    """

    url: str
    checksum: str | None
    size: int
    file: str = ""
    unpacked: int = 0


@dataclass(frozen=True)
class DatasetInfo:
    """A data set as it was published.

    ``folds`` are its official folds (for the digits, its speakers or speaker-disjoint folds), ``test_fold`` the one
    that is held out when nothing else is asked for, ``clips`` the number of clips of the whole set.
    """

    name: str
    title: str
    folder: str
    classes: tuple[str, ...]
    folds: tuple[str, ...]
    test_fold: str
    clips: int
    licence: str
    homepage: str
    citation: str
    archives: tuple[Archive, ...]
    subject: str
    note: str = ""


_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# In the order of ``target`` in esc50.csv.
_ESC50 = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)

_ESC10 = (
    *("dog", "rooster", "rain", "sea_waves", "crackling_fire"),
    *("crying_baby", "sneezing", "clock_tick", "helicopter", "chainsaw"),
)

# In the order of ``classID`` in UrbanSound8K.csv.
_URBAN = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)

_ESC_ARCHIVES = (
    Archive(
        url="https://github.com/karolpiczak/ESC-50/archive/33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
        checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
        size=645_832_161,
        file="ESC-50-33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
        unpacked=882_088_000,
    ),
)

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

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="fsdd",
            subject="spoken digits",
            title="Free Spoken Digit Dataset",
            folder="fsdd",
            classes=_DIGITS,
            folds=("george", "jackson", "lucas", "nicolas", "theo", "yweweler"),
            test_fold="theo",
            clips=3000,
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
            classes=_DIGITS,
            folds=("1", "2", "3", "4", "5"),
            test_fold="1",
            clips=30_000,
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
            name="esc10",
            subject="everyday sounds",
            title="ESC-10",
            folder="ESC-50",
            classes=_ESC10,
            folds=("1", "2", "3", "4", "5"),
            test_fold="1",
            clips=400,
            licence="CC BY 3.0",
            homepage="https://github.com/karolpiczak/ESC-50",
            citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
            archives=_ESC_ARCHIVES,
        ),
        DatasetInfo(
            name="esc50",
            subject="everyday sounds",
            title="ESC-50",
            folder="ESC-50",
            classes=_ESC50,
            folds=("1", "2", "3", "4", "5"),
            test_fold="1",
            clips=2000,
            licence="CC BY-NC 3.0",
            homepage="https://github.com/karolpiczak/ESC-50",
            citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
            archives=_ESC_ARCHIVES,
        ),
        DatasetInfo(
            name="urbansound8k",
            subject="the sounds of a city",
            title="UrbanSound8K",
            folder="UrbanSound8K",
            classes=_URBAN,
            folds=tuple(str(k) for k in range(1, 11)),
            test_fold="10",
            clips=8732,
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
