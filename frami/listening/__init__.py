"""Long and live sound through a classifier: sliding windows, what it hears in each, and events made of those.

Nothing here needs PyTorch but a checkpoint (``recognisers.checkpoint``): an exported ``.onnx`` runs in onnxruntime.
"""

from frami.listening.answers import Answer, Events, Settings, Smoothing, answers_of
from frami.listening.listener import Listener, Summary, listen
from frami.listening.recognisers import ListenError, Recogniser, checkpoint, metadata, onnx
from frami.listening.windows import Windows

__all__ = [
    "Answer", "Events", "ListenError", "Listener", "Recogniser", "Settings", "Smoothing", "Summary", "Windows",
    "answers_of", "checkpoint", "listen", "metadata", "onnx",
]  # fmt: skip
