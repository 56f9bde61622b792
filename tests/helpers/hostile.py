"""What a hostile visitor may send in place of a value."""

import json
import random
from typing import Any

RUN = "0123456789ab"
#: Values as JSON, for what Python's ``json`` would not write.
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, '"\\ud800"', '"\\u0000"', "[" * 3_000 + "]" * 3_000]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 10**40, -(10**18), 0.5, -0.0, 1e308, "", " ", "٣", "0", "-1", "1e9",
    "\x00", "\r\n", "../../etc/passwd", "/etc/passwd", "~/x", "C:\\x", "%2e%2e/", "<script>", "{{value}}", "${1}",
    "__class__", "x" * 500, "x" * 5_000, "fsdd", "digits", "frami", "nobody", "run-" + RUN, "real", RUN, RUN + "\n",
    "gallery/fsdd/0", "gallery/fsdd/٣", "gallery/./0", "gallery/nobody/0", "gallery/fsdd/99999", "gallery/fsdd/0@0",
    "gallery/fsdd/0~frami", "gallery/fsdd/0~bigvgan", "sample/fsdd/0", "sample/fsdd/" + "9" * 4_000, "sample/x/0",
    f"run/{RUN}/0", f"run/{RUN}/0@9", "explore/fsdd/frami/0", "explore/fsdd/frami/99999", "explore/fsdd/real/0",
    "explore/fsdd/nobody/0", "explore/nobody/frami/0", "explore/fsdd/../frami/0", [], [None], [True], [[]], [[[[0]]]],
    [0, 1], [0] * 3, list(range(10)) * 100, ["fsdd"], ["x" * 300] * 40, ["gallery/fsdd/0"] * 50, ["gallery/fsdd/0"], {},
    {"id": "x"}, {"id": None}, {"id": ["x"]}, {"id": RUN, "kind": "onnx"}, {"id": RUN, "kind": "\u202e"},
    {"teacher": ["fsdd"]}, {"teacher": "fsdd", "keys": ["frami", {}, 3]}, {"teacher": "fsdd", "keys": ["frami"] * 33},
    {"teacher": "fsdd", "keys": ["frami"], "id": "explore/fsdd/cmi/0"}, {"teacher": "fsdd", "keys": None, "stamp": {}},
    {"teacher": "fsdd", "keys": ["frami"], "id": 3, "stamp": [1]}, {"teacher": "fsdd", "seen": {"x": []}, "known": 1},
    {"path": "/etc/passwd"}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, {"path": "http://10.0.0.1/x",
    "meta": {"_type": "gradio.FileData"}}, {"path": None}, {"__type__": "update", "value": 1}, {"value": {"value": {}}},
]  # fmt: skip


def value(chance: random.Random) -> str:
    """A value as JSON."""
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(RAW)
    if kind < 0.8:
        return json.dumps(chance.choice(VALUES))
    if kind < 0.9:
        return f"[{', '.join(value(chance) for _ in range(chance.randrange(4)))}]"
    names = ("id", "teacher", "keys", "kind", "seen", "stamp", "known", "path", "value", "token")
    pairs = [f'"{name}": {value(chance)}' for name in chance.sample(names, chance.randrange(1, 5))]
    return f"{{{', '.join(pairs)}}}"
