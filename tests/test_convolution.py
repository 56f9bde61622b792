"""The convolution of small networks: outputs and gradients are the plain convolution's."""

import pytest
import torch
import torch.nn.functional as F

from frami.models.convolution import Conv2d, input_gradient

CASES = [
    (1, 8, (3, 3), 2, (1, 1)),
    (1, 5, (3, 3), 1, (0, 1)),
    (8, 8, (3, 3), 1, (1, 1)),
    (8, 6, (1, 9), 1, (0, 4)),
    (8, 6, (3, 5), 1, (0, 1)),
    (8, 16, (1, 1), 2, (0, 0)),
    (8, 16, (3, 3), 2, (1, 1)),
    (24, 24, (3, 3), 1, (1, 1)),
    (24, 10, (1, 1), 1, (0, 0)),
]


@pytest.mark.parametrize("size", [(13, 10), (12, 7), (3, 9)])
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "stride", "padding"), CASES)
def test_gradients_are_those_of_the_plain_convolution(inputs, outputs, kernel, stride, padding, size):
    rng = torch.Generator().manual_seed(0)
    conv = Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    x = torch.randn(3, inputs, *size, generator=rng).requires_grad_()
    exact = [t.detach().double().requires_grad_() for t in (x, conv.weight)]
    ours = conv(x)
    theirs = F.conv2d(*exact, None, stride, padding)
    pull = torch.randn(ours.shape, generator=rng)
    mine = torch.autograd.grad((ours * pull).sum(), [x, conv.weight])
    plain = torch.autograd.grad((theirs * pull).sum(), exact)
    for found, wanted in zip([ours, *mine], [theirs, *plain], strict=True):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-4)


def test_a_gradient_that_nobody_asks_for_is_not_computed():
    conv = Conv2d(8, 8, 3, 1, 1, bias=False)
    out = conv(torch.randn(2, 8, 5, 5))
    assert out.grad_fn.name() == "_ConvolutionBackward"
    out.sum().backward()
    assert conv.weight.grad.abs().min() > 0


@pytest.mark.parametrize("case", ["float64", "channels last", "autocast", "frozen"])
def test_anything_else_takes_the_plain_way(case):
    conv, x = Conv2d(8, 8, 3, 1, 1, bias=False), torch.randn(2, 8, 5, 6)
    x = x.contiguous(memory_format=torch.channels_last) if case == "channels last" else x
    if case == "float64":
        conv, x = conv.double(), x.double()
    if case == "frozen":
        conv.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        out = conv(x.requires_grad_())
    assert "_Convolution" not in out.grad_fn.name()
    assert out.dtype == {"float64": torch.float64, "autocast": torch.bfloat16}.get(case, torch.float32)


def test_where_the_library_is_fastest_it_is_asked():
    grad, weight = torch.randn(2, 32, 5, 5), torch.randn(32, 32, 3, 3)
    assert input_gradient(grad, weight, torch.Size([2, 32, 5, 5]), (1, 1), (1, 1)) is None
