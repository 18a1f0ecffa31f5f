import math

import pytest
import torch
from torch import nn

from catdog.errors import InputError
from catdog.model import FullyConnected
from catdog.model.features import CELL, ORIENTATIONS, Whitening, hog

EPSILON = 0.01


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


@pytest.mark.parametrize("hog_inputs", [0, 6])
def test_the_input_weights_are_what_every_pixel_counts_behind_a_whitening_and_beside_hog(hog_inputs: int) -> None:
    network, images = FullyConnected(8, [5], seeds=[7, 3], whitening=4, hog=hog_inputs), torch.randn(50, 3, 8, 8)
    network.fit(images)
    inputs = network.inputs(images.requires_grad_())
    if network.hog_whitening is not None:
        torch.testing.assert_close(inputs[:, 4:], network.hog_whitening(hog(images)))
    pixels_share = inputs[:, :4] @ next(network.layers.parameters())[1, 2, :4]
    (gradients,) = torch.autograd.grad(pixels_share.sum(), images)
    torch.testing.assert_close(network.input_weights[1, 2].expand(50, -1), gradients.flatten(1))
    assert inputs.shape == (50, 4 + hog_inputs)


def ramp(angle: float, size: int = 16, strength: float = 0.05) -> torch.Tensor:
    """An image that grows brighter in one direction, (1, 3, size, size)."""
    steps = torch.arange(size, dtype=torch.float32)
    grey = strength * (math.cos(angle) * steps + math.sin(angle) * steps[:, None])
    return grey.expand(1, 3, size, size)


def histograms(images: torch.Tensor) -> torch.Tensor:
    cells = images.shape[-1] // CELL
    return hog(images).reshape(-1, ORIENTATIONS, cells, cells)


@pytest.mark.parametrize("orientation", [0, 1, 1.5, 3, 6.5, 8, 11, 15])
def test_hog_counts_an_orientation_in_the_nearest_bins_whichever_side_is_bright(orientation: float) -> None:
    found = histograms(ramp(orientation * math.pi / ORIENTATIONS))[0, :, 1:-1, 1:-1]  # the border sees half
    near = [math.floor(orientation) % ORIENTATIONS, math.ceil(orientation) % ORIENTATIONS]
    torch.testing.assert_close(found[near[0]], found[near[1]], atol=1e-3, rtol=1e-3)
    assert found[near].min() > 0.4
    assert found[[other for other in range(ORIENTATIONS) if other not in near]].max() < 0.11


def test_colour_and_brightness_do_not_matter_to_hog_and_contrast_hardly() -> None:
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(hog(images), hog(images.roll(1, 1)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hog(images), hog(images + 0.5), atol=1e-4, rtol=1e-4)
    assert (hog(images) - hog(images * 0.5)).abs().max() < 0.1


def correlated(count: int, inputs: int) -> torch.Tensor:
    """Values whose principal components fall off as those of photos do, with a mean."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(inputs, inputs, generator=generator))[0]
    strengths = 1 / torch.arange(1, inputs + 1)
    return torch.randn(count, inputs, generator=generator) * strengths @ axes + 3


def test_components_are_uncorrelated_and_equally_strong_but_for_epsilon() -> None:
    values = correlated(5000, 30)
    whitening = Whitening(30, 10, EPSILON)
    whitening.fit(values)
    whitened = whitening(values)
    covariance, epsilon = values.T.cov(), EPSILON * (values - values.mean(0)).square().mean()
    variances = torch.linalg.eigvalsh(covariance).flip(0)[:10]
    torch.testing.assert_close(whitened.mean(0), torch.zeros(10), atol=1e-3, rtol=0)
    torch.testing.assert_close(whitened.T.cov(), (variances / (variances + epsilon)).diag(), atol=0.01, rtol=0)


def test_fitting_gives_the_same_components_whatever_the_global_generator() -> None:
    values, fitted = correlated(200, 20), [Whitening(20, 5, EPSILON) for _ in range(2)]
    for seed, whitening in enumerate(fitted):
        torch.manual_seed(seed)
        whitening.fit(values)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(seed))  # nothing was drawn
    assert fitted[0].weight.equal(fitted[1].weight)
    assert (fitted[0].weight.gather(1, fitted[0].weight.abs().argmax(1, keepdim=True)) > 0).all()  # signs are fixed


def test_only_a_whitening_that_was_fitted_to_enough_images_or_loaded_can_be_used() -> None:
    values, fitted, loaded = correlated(50, 20), Whitening(20, 5, EPSILON), Whitening(20, 5, EPSILON)
    loaded.load_state_dict(Whitening(20, 5, EPSILON).state_dict())
    for whitening in (fitted, loaded):
        assert not whitening.fitted
        with pytest.raises(InputError, match="the whitening was never fitted"):
            whitening(values)
    with pytest.raises(InputError, match="5 principal components cannot be found in 4 images of the first batches"):
        fitted.fit(values[:4])
    fitted.fit(values)
    loaded.load_state_dict(fitted.state_dict())
    assert loaded.fitted
    assert loaded(values).equal(fitted(values))
