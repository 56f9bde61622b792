"""Moments of an optimiser: there and back, of all parameters or some, also as torch itself stores them."""

import pytest
import torch

from frami.optim import Muon, adam, forget, moments, orthogonalised, restore, set_rate

CPU = torch.device("cpu")


def trained(steps: int, kind=torch.optim.Adam):
    """Two parameters after some steps downhill, the second without a gradient before the third."""
    one, two = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    optimiser = adam([{"params": [one, two], "lr": 0.1}], CPU, kind)
    for step in range(steps):
        optimiser.zero_grad()
        (one.square().sum() + (two.square().sum() if step >= 2 else 0)).backward()
        optimiser.step()
    return one, two, optimiser


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("steps", [0, 2, 4])
@pytest.mark.parametrize("as_torch", [False, True])
def test_an_optimiser_goes_on_from_its_moments(kind, steps, as_torch):
    one, two, optimiser = trained(steps, kind)
    states = optimiser.state_dict()["state"] if as_torch else moments(optimiser)
    again = adam([{"params": [p.detach().clone().requires_grad_() for p in (one, two)], "lr": 0.1}], CPU, kind)
    restore(again, states)
    before = [value.clone() for state in moments(optimiser) for value in state.values()]
    for o in (optimiser, again):
        o.zero_grad()
        sum(p.square().sum() for p in o.param_groups[0]["params"]).backward()
        o.step()
    for mine, restored in zip((one, two), again.param_groups[0]["params"], strict=True):
        assert torch.equal(mine, restored)
    stored = [value for state in (states.values() if as_torch else states) for value in state.values()]
    assert as_torch or all(map(torch.equal, before, stored)), "what was stored is a copy"


def test_moments_of_some_parameters():
    one, two, optimiser = trained(4)
    (state,) = moments(optimiser, [two])
    assert state["step"] == 2 and state["exp_avg"].shape == (2,)
    forget(optimiser, [one])
    assert optimiser.state[one]["step"] == 0 and optimiser.state[two]["step"] == 2
    with pytest.raises(ValueError):
        restore(optimiser, [state])


def test_rates_are_shares_of_the_first():
    _, _, optimiser = trained(0)
    set_rate(optimiser, 0.5)
    set_rate(optimiser, 0.25)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.025)


# --- Muon ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 4), (3, 20), (20, 3)])
def test_orthogonalised_matrices_keep_their_directions(shape):
    """Same singular vectors, singular values near one."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(matrix)
    assert ((values := torch.linalg.svdvals(found)) > 0.6).all() and (values < 1.3).all()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0) > 0.95


def muon(kernels, others):
    groups = [{"params": kernels, "lr": 0.1, "orthogonal": True}, {"params": others, "lr": 0.01}]
    return adam(groups, CPU, Muon, weight_decay=0.0)


def test_muon_descends_with_kernels_and_the_rest():
    rng = torch.Generator().manual_seed(1)
    kernel, bias = (torch.randn(shape, generator=rng).requires_grad_() for shape in ((6, 2, 3, 3), (6,)))
    optimiser, losses = muon([kernel], [bias]), []
    for _ in range(60):
        loss = (kernel - 0.3).square().sum() + (bias - 1).square().sum()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        before = kernel.detach().clone()
        optimiser.step()
        moved = (kernel.detach() - before).flatten(1)
        assert 0.5 * 0.1 < torch.linalg.matrix_norm(moved, 2) < 1.3 * 0.1, "as far as the rate says, whatever the loss"
    assert losses[-1] < 0.2 * losses[0]


def test_muon_goes_on_from_its_moments():
    def parameters():
        rng = torch.Generator().manual_seed(2)
        return [torch.randn(shape, generator=rng).requires_grad_() for shape in ((4, 3, 1, 1), (5,))]

    def step(optimiser, parameters):
        optimiser.zero_grad()
        sum(p.square().sum() + p.sum() for p in parameters).backward()
        optimiser.step()

    mine = parameters()
    whole = muon(mine[:1], mine[1:])
    step(whole, mine)
    other = [p.detach().clone().requires_grad_() for p in mine]
    again = muon(other[:1], other[1:])
    restore(again, moments(whole))
    for optimiser, own in ((whole, mine), (again, other)):
        step(optimiser, own)
    assert all(map(torch.equal, mine, other))
