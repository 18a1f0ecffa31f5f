import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, t

from catdog.inference.auc import mean_auc

LABELS = np.repeat([True, False], [12, 18])


def draw(seed: int, nets: int, labels: np.ndarray = LABELS) -> np.ndarray:
    """Rounded, so that there are ties."""
    return (np.random.default_rng(seed).normal(size=(nets, len(labels))) + labels).round(1)


def by_hand(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and DeLong's covariances, (nets,) and (nets, nets), from all pairs of photos."""
    ones, zeros = scores[:, labels, None], scores[:, None, ~labels]
    wins = (ones > zeros) + 0.5 * (ones == zeros)  # (nets, ones, zeros)
    m, n = wins.shape[1:]
    areas, above, below = wins.mean(axis=(1, 2)), wins.mean(axis=2), wins.mean(axis=1)
    by_one, by_zero = above - areas[:, None], below - areas[:, None]
    return areas, by_one @ by_one.T / (m - 1) / m + by_zero @ by_zero.T / (n - 1) / n


def test_one_net_has_delongs_interval_on_the_logit_scale() -> None:
    scores = draw(0, 1)
    (area,), ((variance,),) = by_hand(scores, LABELS)
    half = norm.ppf(0.975) * math.sqrt(variance) / (area * (1 - area))
    expected = area, expit(logit(area) - half), expit(logit(area) + half)
    np.testing.assert_allclose(mean_auc(scores, LABELS), expected)


def test_several_nets_have_obuchowskis_and_rocketts_interval() -> None:
    scores = draw(1, 4) + draw(2, 1)  # photos are hard or easy for all nets alike
    scores[0, LABELS] += 2  # one net is much better, so that nets vary more than their photos make them
    areas, covariance = by_hand(scores, LABELS)
    between = areas.var(ddof=1)
    shared = covariance[~np.eye(4, dtype=bool)].mean()
    variance = (between + 4 * shared) / 4
    freedom = (between + 4 * shared) ** 2 / (between**2 / 3)  # Hillis (2007)
    area = areas.mean()
    half = t.ppf(0.975, freedom) * math.sqrt(variance) / (area * (1 - area))
    expected = area, expit(logit(area) - half), expit(logit(area) + half)
    np.testing.assert_allclose(mean_auc(scores, LABELS), expected)


@pytest.mark.parametrize(("nets", "area"), [(1, 0.65), (1, 0.95), (5, 0.65)])
def test_intervals_hold_the_true_area_about_as_often_as_they_say(nets: int, area: float) -> None:
    rng, labels = np.random.default_rng(0), np.repeat([True, False], 100)
    shift, held = norm.ppf(area) * 2**0.5, 0
    for _ in range(400):
        photos, own = rng.normal(size=200), rng.normal(size=(nets, 200))
        scores = shift * labels + (0.8**0.5 * photos + 0.2**0.5 * own if nets > 1 else own)
        _, low, high = mean_auc(scores, labels)
        held += low <= area <= high
    assert 0.92 <= held / 400 <= 0.98


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_an_area_depends_on_the_order_alone_and_mirrors_with_the_classes(
    seed: int, nets: int, ones: int, zeros: int
) -> None:
    labels = np.repeat([True, False], [ones, zeros])
    scores = draw(seed, nets, labels)
    area, low, high = mean_auc(scores, labels)
    assert 0 <= low <= area <= high <= 1
    np.testing.assert_allclose(mean_auc(np.exp(scores) - 7, labels), (area, low, high))
    np.testing.assert_allclose(mean_auc(-scores, labels), (1 - area, 1 - high, 1 - low), atol=1e-9)
    np.testing.assert_allclose(mean_auc(scores, ~labels), (1 - area, 1 - high, 1 - low), atol=1e-9)


def test_a_perfect_order_of_few_photos_is_not_certain() -> None:
    area, low, high = mean_auc(LABELS[None].astype(float), LABELS)
    assert (area, high) == (1, 1)
    assert low == pytest.approx(12 / (12 + norm.ppf(0.975) ** 2))  # Wilson's for 12 of 12


def test_constant_scores_have_an_area_of_a_half_whatever_the_photos() -> None:
    assert mean_auc(np.array([[0.3], [-1.0]]).repeat(30, axis=1), LABELS) == (0.5, 0.5, 0.5)
