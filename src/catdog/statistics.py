"""Confidence intervals and tests for accuracies; `docs/statistics.md` explains their choice and validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

RUN_SPREAD = 0.02  # standard deviation of test accuracy over initial weights; assumed where a single run cannot show it


@dataclass(frozen=True)
class Difference:
    """Accuracy of one setting minus that of another, as fractions: 0.01 is one percentage point."""

    mean: float  # over all photos and pairs of runs
    low: float  # lower end of the 95 % interval
    high: float  # upper end
    p_value: float  # two-sided; not corrected for multiple comparisons, see `holm`
    detectable: float  # minimum detectable difference: power 80 %, level 5 %
    runs: int  # pairs of runs
    photos: int  # distinct test photos


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a proportion, such as an accuracy, from `correct` of `total`.

    Wilson (1927), without continuity correction. It assumes independent draws, so it covers the sampling of photos, not
    that of initial weights.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Difference:
    """Compare the accuracies of settings `a` and `b` on the same photos with the same seeds.

    The test is Student's t, with the `_standard_error` of the differences per run and photo.

    Degenerate cases:
        One run: the variance over initial weights cannot be estimated, so `RUN_SPREAD`² is added once per setting;
            the interval is as good as that assumption.
        One split, with any number of seeds: the result holds only for nets trained on this split's training photos.
        Two runs: valid, but the interval is too wide to be useful; use five or more.
        Equal predictions: the difference is 0 and p is 1, but the interval has a positive width.

    Args:
        a: (runs, photos), at least 2 photos, 1 correct, 0 wrong, NaN where that run did not test that photo.
        b: as `a`; the same row is the same fold and seed, the same column the same photo.
    """
    mean = float(np.nanmean(a - b))
    error, freedom = _standard_error(a - b, run_variance=2 * RUN_SPREAD**2)
    half = error * t.ppf(0.975, freedom)
    return Difference(
        mean=mean,
        low=float(max(mean - half, -1)),
        high=float(min(mean + half, 1)),
        p_value=float(2 * t.sf(abs(mean) / error, freedom)),
        detectable=float(error * (t.ppf(0.975, freedom) + t.ppf(0.8, freedom))),
        runs=len(a),
        photos=_count_tested(a),
    )


def mean_accuracy(correct: NDArray[np.float64]) -> tuple[float, float, float]:
    """Compute the mean accuracy of one setting and the ends of its 95 % interval, as fractions.

    Several runs: Student's t with `_standard_error`. One run: `wilson_interval`, for the sampling of photos alone.

    `correct` is (runs, photos): 1 correct, 0 wrong, NaN where that run did not test that photo.
    """
    mean = float(np.nanmean(correct))
    if min(correct.shape) == 1:
        return mean, *wilson_interval(int(np.nansum(correct)), int(np.isfinite(correct).sum()))
    error, freedom = _standard_error(correct, run_variance=0.0)
    half = error * t.ppf(0.975, freedom)
    return mean, float(max(mean - half, 0)), float(min(mean + half, 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons, controlling the family-wise error rate; Holm (1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.sort(p_values) * np.arange(len(order), 0, -1)).clip(max=1)
    return [float(p) for p in adjusted]


def _standard_error(values: NDArray[np.float64], run_variance: float) -> tuple[float, float]:
    """Compute the standard error of the mean of `values`, (runs, photos) with NaN, and its degrees of freedom.

    The variance is two-way clustered, Cameron, Gelbach & Miller (2011): V_groups + V_photos - V_cells, each with its
    correction G / (G - 1). Groups are folds, whose runs share their training photos; with a single fold, runs. Degrees
    of freedom are Satterthwaite's (1946), with V_groups as the only uncertain term, as photos are many. With several
    folds, overlapping training sets add n_test / n_train × s², Nadeau & Bengio (2003): s² is the variance of the runs'
    means, and the photos that a run did not test are taken as its training photos.

    The variance is at least V_groups, V_photos, and that of two discordant photos, one in each direction: equal
    predictions on few photos are no certainty. One run has no V_groups; its variance is V_photos + `run_variance`.
    """
    tested = ~np.isnan(values)
    fold = np.unique(np.packbits(tested, axis=1), axis=0, return_inverse=True)[1].ravel()  # same photos, same fold
    folds = int(fold.max()) + 1
    group = fold if folds > 1 else np.arange(len(fold))
    member = np.arange(group.max() + 1)[:, None] == group  # (groups, runs)
    residuals = np.where(tested, values - np.nanmean(values), 0.0)
    photos, tests = _count_tested(values), int(tested.sum())
    v_photos = max(_variance(residuals.sum(axis=0), photos, tests), 2 / photos**2)
    if len(values) == 1:
        return math.sqrt(v_photos + run_variance), photos - 1
    per_cell = (member @ residuals)[member @ tested]  # summed over the seeds of a fold
    v_groups = _variance(member @ residuals.sum(axis=1), len(member), tests)
    v_cells = _variance(per_cell, len(per_cell), tests)
    variance = max(v_groups + v_photos - v_cells, v_groups, v_photos)
    freedom = (len(member) - 1) * (variance / max(v_groups, 1e-12)) ** 2
    per_run = tests / len(values)
    overlap = per_run / (photos - per_run) * np.nanmean(values, axis=1).var(ddof=1) if folds > 1 else 0.0
    return math.sqrt(variance + overlap), min(freedom, photos - 1)


def _variance(sums: NDArray[np.float64], clusters: int, tests: int) -> float:
    """Compute the variance of a mean of `tests` values from its residuals, summed within each independent cluster."""
    return float(clusters / (clusters - 1) * (sums**2).sum() / tests**2)


def _count_tested(correct: NDArray[np.float64]) -> int:
    """Count the photos that at least one run tested."""
    return int((~np.isnan(correct)).any(axis=0).sum())
