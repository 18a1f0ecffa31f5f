import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from catdog.errors import InputError
from catdog.inference.contributions import activations
from catdog.model import FullyConnected
from catdog.model.features import hog


@given(image_size=st.integers(1, 5), hidden=st.lists(st.integers(1, 9), max_size=4), replicas=st.integers(1, 3))
def test_layers_have_the_widths_asked_for(image_size: int, hidden: list[int], replicas: int) -> None:
    network = FullyConnected(image_size, hidden, seeds=range(replicas))
    widths = [3 * image_size**2, *hidden, 1]
    expected = sum(a * b + b for a, b in itertools.pairwise(widths))
    assert sum(parameter.numel() for parameter in network.parameters()) == replicas * expected
    outputs = activations(network, torch.randn(3, 3, image_size, image_size))
    assert [values.shape for values in outputs] == [(replicas, 3, width) for width in widths[1:]]
    assert all((values >= 0).all() for values in outputs[:-1])


def test_no_hidden_layer_is_logistic_regression() -> None:
    network = FullyConnected(2, [], seeds=[0])
    images = torch.randn(2, 3, 2, 2)
    weight, bias = network.parameters()
    torch.testing.assert_close(network(images)[0], (images.flatten(1) @ weight[0].T + bias[0]).squeeze(1))


@pytest.mark.parametrize("seeds", [[0], [7, 3]])
def test_replicas_start_as_the_same_layers_of_pytorch_do(seeds: list[int]) -> None:
    network = FullyConnected(2, [5, 3], seeds)
    images = torch.randn(4, 3, 2, 2)
    for seed, logits in zip(seeds, network(images), strict=True):
        torch.manual_seed(seed)
        plain = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1))
        torch.testing.assert_close(logits, plain(images.flatten(1)).squeeze(1))


@pytest.mark.parametrize("hidden", [[0], [5, -1], "abc", ["abc"], [2.5], [True], 4, None])
def test_hidden_widths_without_sense_are_refused(hidden: object) -> None:
    with pytest.raises(InputError, match=r"model.hidden must be a list of whole numbers of at least 1.*got "):
        FullyConnected(2, hidden, seeds=[0])  # type: ignore[arg-type]


def test_the_input_weights_are_what_every_pixel_counts_also_behind_a_whitening() -> None:
    network = FullyConnected(2, [5], seeds=[7, 3], whitening=4)
    assert network.whitening is not None
    network.fit(torch.randn(50, 3, 2, 2))
    pixels = torch.randn(12, requires_grad=True)
    whitened = network.whitening(pixels[None])
    (first,) = torch.autograd.grad(network.layers[0](whitened)[1, 0, 2], pixels)
    torch.testing.assert_close(network.input_weights[1, 2], first)


def test_hog_is_seen_besides_pixels_and_is_no_part_of_the_pixels_weights() -> None:
    network = FullyConnected(8, [5], seeds=[7, 3], whitening=4, hog=6)
    images = torch.randn(50, 3, 8, 8)
    network.fit(images)
    assert network.layers[0].weight.shape == (2, 5, 4 + 6)
    assert network.input_weights.shape == (2, 5, 3 * 8 * 8)
    brighter = images + 0.3  # which changes no gradient
    assert network.hog_whitening is not None
    torch.testing.assert_close(network.hog_whitening(hog(images)), network.hog_whitening(hog(brighter)))
    assert not network(images).allclose(network(images.flip(3)))


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_logits_depend_on_the_activations_that_are_given(replicas: int) -> None:
    network = FullyConnected(2, [5, 3], seeds=range(replicas))
    images = torch.randn(4, 3, 2, 2)
    *hidden, logits = activations(network, images)
    torch.testing.assert_close(logits.squeeze(2), network(images))
    assert all(
        slope.shape == own.shape for slope, own in zip(torch.autograd.grad(logits.sum(), hidden), hidden, strict=True)
    )
