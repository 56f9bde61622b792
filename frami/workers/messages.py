"""What the page and its workers send each other: plain values and tensors, read without running code.

A worker has read a stranger's file, so the page takes nothing from it that could be code: no pickles.
"""

import io

import torch

from frami.features.maps import Layer
from frami.inversion import Clips

#: Dataclasses of plain values and tensors that may be part of a message.
_KNOWN = (Clips, Layer)
# Once and for all threads: the context manager of PyTorch takes them away from another thread that is reading.
torch.serialization.add_safe_globals(list(_KNOWN))


def pack(value) -> memoryview:
    """Numbers, texts, bytes, None, CPU tensors, ``Clips`` and ``Layer``, in dicts, lists and tuples, as bytes."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getbuffer()


def unpack(content: bytes):
    """Inverse of ``pack``. Raises an exception for anything else."""
    return torch.load(io.BytesIO(content), weights_only=True)
