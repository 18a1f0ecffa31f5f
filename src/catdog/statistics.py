"""Intervals for what was counted."""

from scipy.stats import binomtest


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval for a share, such as an accuracy, of which `correct` in `total` were seen.

    Wilson (1927), without continuity correction. It treats the `total` as drawn independently and at random, so it
    speaks of other photos of this kind, not of other initial weights.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
