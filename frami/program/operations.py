"""The operations that a program may name. What is not here is refused, so that a file cannot call anything else."""

import math
import operator
from collections.abc import Callable
from functools import lru_cache

import torch

#: ATen operations (all their overloads) that compute tensors of tensors, and nothing else.
ATEN = frozenset(
    """
    _softmax _log_softmax _scaled_dot_product_flash_attention_for_cpu _to_copy _unsafe_view abs abs_ absolute
    adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d add add_
    addcdiv addcmul addmm alias all alpha_dropout amax amin any arange argmax argmin as_strided atan avg_pool1d
    avg_pool2d baddbmm batch_norm bernoulli bitwise_and bitwise_not bitwise_or bmm broadcast_to cat ceil celu chunk
    clamp clamp_ clamp_max clamp_min clone complex concat concatenate constant_pad_nd contiguous conv1d conv2d
    conv_transpose1d conv_transpose2d convolution copy cos cumsum detach detach_ diagonal div div_ dropout dropout_
    einsum elu elu_ embedding empty_like eq exp exp_ expand expand_as feature_dropout fill fill_ flatten flip floor
    floor_divide fmod full full_like gather ge gelu gelu_ glu group_norm gru gt hardsigmoid hardsigmoid_ hardswish
    hardswish_ hardtanh hardtanh_ im2col index index_select instance_norm isfinite isnan layer_norm le leaky_relu
    leaky_relu_ lerp lift_fresh_copy linalg_vector_norm linear linspace log log10 log1p log2 log_ log_sigmoid
    log_softmax logical_and logical_not logical_or logit logsumexp lstm lt masked_fill masked_fill_ masked_select
    matmul max max_pool1d max_pool2d max_pool2d_with_indices maximum mean min minimum mish mm movedim mul mul_
    multiply narrow native_group_norm native_layer_norm _native_batch_norm_legit_no_training ne neg new_empty
    new_full new_ones new_zeros norm ones ones_like pad permute pixel_shuffle pow pow_ prelu prod reciprocal
    reflection_pad1d reflection_pad2d relu relu_ relu6 relu6_ repeat repeat_interleave replication_pad1d
    replication_pad2d reshape reshape_as rms_norm rnn_tanh rnn_relu roll round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter select selu selu_ sigmoid sigmoid_ sign silu silu_ sin slice softmax
    softplus split split_with_sizes sqrt sqrt_ square squeeze stack std std_mean sub sub_ subtract sum sym_size
    sym_numel sym_stride t take_along_dim tan tanh tanh_ tensor_split threshold tile to topk transpose tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze upsample_bilinear2d upsample_linear1d
    upsample_nearest1d upsample_nearest2d var var_mean view view_as where zeros zeros_like
    """.split()  # noqa: SIM905
)

#: Operations that only check something; a program does without them.
CHECKS = frozenset(
    """
    _assert_scalar _assert_async _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
    """.split()  # noqa: SIM905
)

#: Functions of numbers, mostly of sizes, by the name that an export gives them.
NUMBERS: dict[str, Callable] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (
        "add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "ge", "gt", "le", "lt", "eq", "ne", "and_",
        "or_", "not_", "getitem")},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{f"torch.{name}": getattr(torch, name) for name in ("sym_max", "sym_min", "sym_int", "sym_float", "sym_not")},
}  # fmt: skip

#: Numbers of a tensor that an operation may make out of nothing.
LARGEST = 2**27
#: Operations whose result can be far larger than what they are given.
_SIZES = ("size", "repeats", "pad", "end", "steps", "dims", "output_size")
_MAKERS = frozenset(
    """
    arange full linspace new_empty new_full new_ones new_zeros ones repeat expand broadcast_to tile pad
    constant_pad_nd repeat_interleave zeros as_strided upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d
    """.split()  # noqa: SIM905
)


def known(name: str) -> bool:
    """Whether a program may name this operation."""
    if name in NUMBERS:
        return True
    space, _, rest = name.partition(".")
    return space == "aten" and base(name) in ATEN and rest.count(".") <= 1


def base(name: str) -> str:
    """``conv2d`` of ``aten.conv2d.default``."""
    return name.split(".")[1] if name.startswith("aten.") else name


@lru_cache(maxsize=1024)
def resolved(name: str) -> Callable:
    """The operation of this name; ValueError where it is none of those above."""
    if not known(name):
        raise ValueError(f"the operation '{name}' is not among those that a program may use")
    if name in NUMBERS:
        return NUMBERS[name]
    _, packet, overload = [*name.split("."), "default"][:3]
    found = getattr(getattr(torch.ops.aten, packet), overload, None)
    if found is None:
        raise ValueError(f"this version of torch has no operation '{name}'")
    return found


def too_large(name: str, arguments: dict) -> bool:
    """Whether an operation that makes a tensor of given sizes would make one that no classifier needs."""
    if base(name) not in _MAKERS:
        return False
    large = any(_product(value) > LARGEST for key, value in arguments.items() if key in _SIZES)
    return large or (base(name) == "arange" and not _steps(arguments) <= LARGEST)


def _steps(arguments: dict) -> float:
    """Numbers that ``arange`` makes."""
    end, start, step = (arguments.get(key, usual) for key, usual in (("end", 0), ("start", 0), ("step", 1)))
    return abs((end - start) / step) if step else math.inf


def _product(value) -> float:
    numbers = value if isinstance(value, list | tuple) else [value]
    return math.prod(max(1, abs(n)) for n in numbers if isinstance(n, int | float))
