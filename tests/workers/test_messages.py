"""What the page and its workers send each other."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from frami.inversion import Clips
from frami.workers import messages


def clips() -> Clips:
    whole = torch.zeros(2, dtype=torch.long)
    return Clips(torch.rand(2, 1, 4, 4), whole + 4, whole, whole, torch.rand(2), torch.rand(2, 3), torch.rand(2, 5))


def test_many_threads_read_at_the_same_time():
    content, before = bytes(messages.pack({"clips": clips(), "step": 3})), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: messages.unpack(content), range(400)))
    finally:
        sys.setswitchinterval(before)
    assert all(isinstance(one["clips"], Clips) and one["step"] == 3 for one in found)


def test_code_is_not_read():
    with pytest.raises(Exception, match="Weights only load failed"):
        messages.unpack(bytes(messages.pack({"path": sys.stdout.__class__})))
