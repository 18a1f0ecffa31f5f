import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catdog.network import FullyConnected
from catdog.optimization import build_optimizer, learning_rate_factor


@given(steps=st.integers(1, 5000), warmup=st.floats(0, 0.99))
def test_the_cosine_rises_once_and_falls_once_within_0_and_1(steps: int, warmup: float) -> None:
    factors = [learning_rate_factor(step, steps, warmup) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert learning_rate_factor(steps, steps, warmup) == pytest.approx(0, abs=1e-12)


def test_the_cosine_without_warm_up_is_that_of_pytorch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert learning_rate_factor(step, 20, warmup=0.0) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
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
