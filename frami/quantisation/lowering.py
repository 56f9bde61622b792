"""An ONNX network of log-Mels in smaller numbers, and the front-end put before it.

Eight bits are those of onnxruntime's own quantiser: weights of a convolution with a scale for each output channel,
activations with one scale and zero point for each tensor (Jacob et al., CVPR 2018), as pairs of QuantizeLinear and
DequantizeLinear, which all runtimes of ONNX know.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

#: How the range of an activation is taken from what calibration clips give: names of onnxruntime's methods.
METHODS = ("minmax", "percentile", "entropy")
METHOD = "minmax"
#: Share of an activation's values, in per cent, that ``percentile`` keeps in range.
PERCENTILE = 99.99
#: Channels from which on a layer is computed in eight bits. With fewer, processors are slower at it than in float32,
#: there are hardly any weights to save, and rounding costs most: the first layers see single Mel bands.
FEWEST = 16
#: Numbers from which on a constant is worth storing in half precision.
_MANY = 64


def eight_bits(source: Path, target: Path, clips: Sequence[Tensor], method: str = METHOD, **choices) -> None:
    """Write an ONNX network of ``mel`` with convolutions, products with weights and shortcuts in eight bits.

    clips : log-Mels Tensor[F, T] whose activations set the ranges; choices : of ``quantize_static``. What is neither
    (the norm of the Mel bands, the statistics of the pooling) stays in float32.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }  # fmt: skip
    if method != "minmax":
        clips = _alike(clips)
    model = onnx.load(source)
    nodes = _nodes(model.graph)
    options = {
        "quant_format": QuantFormat.QDQ, "per_channel": True,
        "weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8,
        # Without instructions for products of bytes (VNNI), a sum of two products overflows 16 bits: weights of seven
        # bits give the same logits on every processor.
        "reduce_range": True,
    } | choices  # fmt: skip
    with _quietly():
        quantize_static(
            model, target, _reader(clips), nodes_to_quantize=[node.name for node in nodes],
            op_types_to_quantize=sorted({node.op_type for node in nodes}), calibrate_method=methods[method],
            extra_options={
                # A clip at a time: they are of all durations.
                "CalibStridedMinMax": 1 if method == "minmax" else None, "CalibPercentile": PERCENTILE,
                # Logits stay as fine as they are: confidences are compared with thresholds.
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
            },
            **options,
        )  # fmt: skip
    lowered = onnx.load(target)
    _shorten(lowered.graph)
    onnx.save(lowered, target)


def _nodes(graph) -> list:
    """Nodes to compute in eight bits: convolutions and products with constant matrices of ``FEWEST`` channels or more,
    the ReLU behind them and the sums of their outputs."""
    shapes, found, lowered = {one.name: tuple(one.dims) for one in graph.initializer}, [], set()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            wanted = node.input[1] in shapes and _channels(node, shapes[node.input[1]]) >= FEWEST
        else:
            wanted = node.op_type in ("Add", "Relu") and all(name in lowered for name in node.input)
        if wanted:
            found.append(node)
            lowered.update(node.output)
    return found


def _channels(node, shape: tuple[int, ...]) -> int:
    """Input or output channels of a convolution, whichever are fewer; of a matrix the rows that are summed."""
    if node.op_type != "Conv":
        return max(shape)
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return min(shape[0], shape[1] * groups)


def _shorten(graph) -> None:
    """Short names inside of a graph, which otherwise are a tenth of a small file."""
    if any(one.HasField("g") or one.graphs for node in graph.node for one in node.attribute):
        return  # parts of it know these names
    kept = {one.name for one in (*graph.input, *graph.output)} | {""}
    short: dict[str, str] = {}

    def name(known: str) -> str:
        return known if known in kept else short.setdefault(known, f"{len(short):x}")

    del graph.value_info[:]
    for one in graph.initializer:
        one.name = name(one.name)
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        node.input[:], node.output[:] = [*map(name, node.input)], [*map(name, node.output)]


def _reader(clips: Sequence[Tensor]):
    """Calibration clips as onnxruntime reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.set_range(0, len(clips))

        def __len__(self) -> int:
            return len(clips)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = iter(clips[start_index:end_index])

        def get_next(self) -> dict[str, np.ndarray] | None:
            clip = next(self.left, None)
            return None if clip is None else {"mel": given(clip)}

    return Reader()


def _alike(clips: Sequence[Tensor]) -> list[Tensor]:
    """Clips of the median duration, longer ones cut and shorter ones repeated: onnxruntime's histograms take clips of
    one duration, all at once."""
    frames = sorted(clip.shape[-1] for clip in clips)[len(clips) // 2]
    return [clip.repeat(1, -(-frames // clip.shape[-1]))[:, :frames] for clip in clips]


def given(clip: Tensor) -> np.ndarray:
    """A log-Mel Tensor[F, T] as a network takes it: float32 (1, 1, F, T)."""
    return np.ascontiguousarray(clip[None, None].float().numpy())


def half_weights(source: Path, target: Path) -> None:
    """Write an ONNX network with its weights in half precision. Runtimes make float32 of them once, when they load it:
    half the file, and the arithmetic as it was, on processors too that have none in half precision."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph, casts = model.graph, []
    for one in list(graph.initializer):
        if one.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(one)
        with np.errstate(over="ignore"):
            smaller = values.astype(np.float16)
        if values.size < _MANY or not np.isfinite(smaller).all():
            continue
        name, stored = one.name, f"{one.name}/half"
        graph.initializer.remove(one)
        graph.initializer.append(numpy_helper.from_array(smaller, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.save(model, target)


def behind(front: Path, network: Path, target: Path) -> None:
    """Write a front-end, ``waveform`` to ``mel``, and a network of ``mel`` as one file."""
    import onnx
    from onnx import compose

    first, second = onnx.load(front), onnx.load(network)
    del first.metadata_props[:]
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    first = compose.add_prefix(first, "front/", rename_inputs=False, rename_outputs=False)
    onnx.save(compose.merge_models(first, second, io_map=[("mel", "mel")]), target)


def describe(path: Path, **values: str) -> None:
    """Set entries of a file's metadata."""
    import onnx

    model = onnx.load(path)
    known = {one.key: one.value for one in model.metadata_props} | values
    onnx.helper.set_model_props(model, known)
    onnx.save(model, path)


class Network:
    """An ONNX file in onnxruntime, on one thread."""

    def __init__(self, path: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        (name,) = (one.name for one in self.session.get_inputs())
        return self.session.run(["logits"], {name: x})[0]

    def logits(self, clips: Sequence[Tensor]) -> Iterator[np.ndarray]:
        """Logits (K,) of each log-Mel Tensor[F, T]."""
        for clip in clips:
            yield self(given(clip))[0]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the quantiser prints and warns of."""
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
