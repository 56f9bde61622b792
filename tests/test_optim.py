"""Moments of an optimiser: there and back, of all parameters or some, also as torch itself stores them."""

import pytest
import torch

from frami.optim import adam, forget, moments, restore, set_rate

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
