import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catdog.errors import InputError
from catdog.model.network import FullyConnected
from catdog.model.optimization import build_optimizer, check_options, cosine_factor


@given(steps=st.integers(1, 5000), warmup=st.floats(0, 0.99))
def test_the_cosine_rises_once_and_falls_once_within_0_and_1(steps: int, warmup: float) -> None:
    factors = [cosine_factor(step, steps, warmup) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert cosine_factor(steps, steps, warmup) == pytest.approx(0, abs=1e-12)


def test_the_cosine_without_warm_up_is_that_of_pytorch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert cosine_factor(step, 20, warmup=0.0) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_only_weights_decay(name: str) -> None:
    network = FullyConnected(2, [4], seeds=[0, 1], normalization="layer")
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    optimizer = build_optimizer(network, name, lr=0.1, weight_decay=0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in network.named_parameters():
        decayed = key.startswith("layers") and key.endswith("weight")
        torch.testing.assert_close(value.detach(), before[key] * (0.95 if decayed else 1.0))


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "NAdam"])
def test_any_optimizer_of_pytorch_is_built_by_its_name(name: str) -> None:
    optimizer = build_optimizer(FullyConnected(2, [], seeds=[0]), name, lr=0.1, weight_decay=0.0)
    assert (type(optimizer).__name__, optimizer.param_groups[0]["lr"]) == (name, 0.1)


def test_what_is_no_optimizer_for_these_nets_is_refused() -> None:
    with pytest.raises(InputError, match="model.optimizer must be ASGD, .* or SGD, got 'adamW'; .* AdamW"):
        check_options(0.01, "adamW", 0.0, "constant", 0.0)
    with pytest.raises(InputError, match="model.optimizer=Muon does not fit these nets"):
        build_optimizer(FullyConnected(2, [], seeds=[0]), "Muon", lr=0.1, weight_decay=0.0)
