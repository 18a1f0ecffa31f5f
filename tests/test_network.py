import pytest
import torch
from torch import nn

from catdog.model import FullyConnected
from catdog.model.features import hog


@pytest.mark.parametrize("seeds", [[0], [7, 3]])
@pytest.mark.parametrize("hidden", [[], [1], [5, 3]])
def test_replicas_start_as_the_same_layers_of_pytorch_do(hidden: list[int], seeds: list[int]) -> None:
    network = FullyConnected(2, hidden, seeds)
    images = torch.randn(4, 3, 2, 2)
    for seed, logits in zip(seeds, network(images), strict=True):
        torch.manual_seed(seed)
        plain = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden[0] if hidden else 1))
        for width in [*hidden[1:], 1] if hidden else []:
            plain.extend([nn.ReLU(), nn.LazyLinear(width)])
        torch.testing.assert_close(logits, plain(images).squeeze(1))


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
    assert network.hog_whitening is not None
    inputs = network.inputs(images)
    torch.testing.assert_close(inputs[:, 4:], network.hog_whitening(hog(images)))
    assert (inputs.shape, network.input_weights.shape) == ((50, 4 + 6), (2, 5, 3 * 8 * 8))
