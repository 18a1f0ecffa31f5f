import pytest
import torch

from catdog.errors import InputError
from catdog.whitening import Whitening

EPSILON = 0.01


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


def test_brightness_and_contrast_of_all_photos_do_not_matter() -> None:
    values = correlated(500, 12)
    one, other = Whitening(12, 5, EPSILON), Whitening(12, 5, EPSILON)
    one.fit(values)
    other.fit(values * 7 - 2)
    torch.testing.assert_close(one(values), other(values * 7 - 2), atol=1e-3, rtol=1e-3)


def test_fitting_leaves_the_global_generator_alone_and_gives_the_same_every_time() -> None:
    state, values = torch.get_rng_state(), correlated(200, 20)
    one, other = Whitening(20, 5, EPSILON), Whitening(20, 5, EPSILON)
    one.fit(values)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(5)
    other.fit(values)
    assert one.weight.equal(other.weight)


def test_too_few_images_get_a_sentence() -> None:
    with pytest.raises(InputError, match="10 principal components cannot be found in 9 training images; ask for"):
        Whitening(20, 10, EPSILON).fit(torch.randn(9, 20))
