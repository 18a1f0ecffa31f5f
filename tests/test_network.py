import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from catdog.errors import InputError
from catdog.network import FullyConnected


@given(inputs=st.integers(1, 40), hidden=st.lists(st.integers(1, 9), max_size=4), replicas=st.integers(1, 3))
def test_layers_have_the_widths_asked_for(inputs: int, hidden: list[int], replicas: int) -> None:
    network = FullyConnected(inputs, hidden, seeds=range(replicas))
    widths = [inputs, *hidden, 1]
    expected = sum(a * b + b for a, b in itertools.pairwise(widths))
    assert sum(parameter.numel() for parameter in network.parameters()) == replicas * expected
    activations = network.activations(torch.randn(3, inputs))
    assert [values.shape for values in activations] == [(replicas, 3, width) for width in widths[1:]]
    assert all((values >= 0).all() for values in activations[:-1])


def test_no_hidden_layer_is_logistic_regression() -> None:
    network = FullyConnected(6, [], seeds=[0])
    images = torch.randn(2, 1, 2, 3)
    weight, bias = network.parameters()
    torch.testing.assert_close(network(images)[0], (images.flatten(1) @ weight[0].T + bias[0]).squeeze(1))


@pytest.mark.parametrize("seeds", [[0], [7, 3]])
def test_replicas_start_as_the_same_layers_of_pytorch_do(seeds: list[int]) -> None:
    network = FullyConnected(12, [5, 3], seeds)
    images = torch.randn(4, 12)
    for seed, logits in zip(seeds, network(images), strict=True):
        torch.manual_seed(seed)
        plain = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1))
        torch.testing.assert_close(logits, plain(images).squeeze(1))


@pytest.mark.parametrize("hidden", [[0], [5, -1], "abc", ["abc"], [2.5], [True], 4, None])
def test_hidden_widths_without_sense_are_refused(hidden: object) -> None:
    with pytest.raises(InputError, match=r"model.hidden must be a list of whole numbers of at least 1.*got "):
        FullyConnected(12, hidden, seeds=[0])  # type: ignore[arg-type]
