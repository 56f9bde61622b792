"""Which of the package's extras has a library that is not here."""

#: What libraries are called, beside those called as their module is.
_TITLES = {
    "torch": "PyTorch", "torchaudio": "PyTorch's torchaudio", "av": "PyAV", "umap": "umap-learn",
    "ray": "Ray", "grpc": "Ray's client (grpcio)",
    "accelerate": "Accelerate",
}  # fmt: skip
#: The extra that has a library; those that are not named here are in "train".
_EXTRAS = {
    "gradio": "studio", "av": "listen", "sounddevice": "listen", "ray": "ray", "grpc": "ray", "accelerate": "ddp",
}  # fmt: skip
#: Libraries that every installation has.
ALWAYS = ("numpy", "soundfile", "soxr", "onnxruntime", "tqdm")


def lacking(module: str) -> str:
    """What to do where a library cannot be imported, in one line. module : its name, as ``torch``."""
    title = _TITLES.get(module, module)
    if module in ALWAYS:
        return f"this needs {title}: pip install frami"
    extra = _EXTRAS.get(module, "train")
    hint = "; an exported .onnx does without: frami listen FILE.onnx" if module == "torch" else ""
    return f"this needs {title}: pip install 'frami[{extra}]'{hint}"
