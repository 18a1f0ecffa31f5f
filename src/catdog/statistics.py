"""Confidence intervals and tests for accuracies; `docs/statistics.md` explains their choice and validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

Floats = NDArray[np.float64]
MIN_FREEDOM = 2  # degrees of freedom between runs; with one, an interval is wide enough to hold everything


@dataclass(frozen=True)
class Estimate:
    """Estimated accuracy, or difference of two accuracies, as a fraction: 0.01 is one percentage point."""

    mean: float
    error: float  # standard error
    freedom: float  # degrees of freedom of Student's t

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % confidence interval."""
        half = self.error * t.ppf(0.975, self.freedom)
        return float(self.mean - half), float(self.mean + half)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true mean is 0; not corrected, see `holm`."""
        return float(2 * t.sf(abs(self.mean) / self.error, self.freedom))

    def detectable(self, comparisons: int = 1) -> float:
        """Compute the minimum detectable difference: power 80 %, level 5 % shared by this many comparisons."""
        level = 0.05 / comparisons
        return float(self.error * (t.ppf(1 - level / 2, self.freedom) + t.ppf(0.8, self.freedom)))


def for_these_photos(values: Floats, sets: NDArray[np.int64]) -> Estimate | None:
    """Estimate a mean for nets trained on these training sets: seeds and test photos are chance.

    `values` is (runs, photos), NaN where a run did not test a photo: correctness (1 or 0) for an accuracy, or the
    difference of paired runs' correctness. `sets` (runs,) numbers each run's training set. Runs are averaged within a
    set.

    If a set has a single run, the variance between sets stands in for that between runs, which is no smaller. Returns
    None if there are too few runs, such as one run, or two sets of one run each.
    """
    averages, counts = _average_within(values, sets)
    if min(counts) > 1:
        return _estimate(averages, values, sets)
    return _estimate(averages, averages, np.zeros(len(averages), int))


def for_any_photos(values: Floats, sets: NDArray[np.int64], overlap: float) -> Estimate | None:
    """Estimate a mean for any training photos of this kind: training sets are chance too; see `for_these_photos`.

    `overlap` is 0 for disjoint training sets. For sets that share photos, such as those of folds, it is the number of
    test photos over that of training photos of a run: the variance of the sets' means, times `overlap`, is added
    (Nadeau & Bengio 2003). Returns None for fewer than three sets.
    """
    averages, _ = _average_within(values, sets)
    found, fixed = _estimate(averages, averages, np.zeros(len(averages), int)), for_these_photos(values, sets)
    if found is None or fixed is None:
        return None
    added = overlap * np.nanmean(averages, axis=1).var(ddof=1)
    return Estimate(found.mean, math.sqrt(max(found.error, fixed.error) ** 2 + added), found.freedom)


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a proportion, such as an accuracy, from `correct` of `total`.

    Wilson (1927), without continuity correction. It assumes independent draws, so it covers the sampling of photos, not
    that of initial weights.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_accuracy(correct: Floats) -> tuple[float, tuple[float, float] | None]:
    """Compute the mean accuracy of runs on one training set, and its 95 % interval.

    `correct` is (runs, photos), 1 or 0. One run: `wilson_interval`, for this very net on other photos. Several: see
    `for_these_photos`; None if they are too few.
    """
    if len(correct) == 1:
        return float(correct.mean()), wilson_interval(int(correct.sum()), correct.size)
    found = for_these_photos(correct, np.zeros(len(correct), int))
    return float(correct.mean()), None if found is None else _within_0_and_1(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons, controlling the family-wise error rate; Holm (1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.sort(p_values) * np.arange(len(order), 0, -1)).clip(max=1)
    return [float(p) for p in adjusted]


def _average_within(values: Floats, sets: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Average the runs of each set: (sets, photos), and the number of runs of each set."""
    members = [values[sets == one] for one in np.unique(sets)]
    return np.array([rows.mean(axis=0) for rows in members]), np.array([len(rows) for rows in members])


def _estimate(averages: Floats, values: Floats, strata: NDArray[np.int64]) -> Estimate | None:
    """Estimate the mean of `averages` with the two-way standard error of `values`, (rows, photos) with NaN.

    Rows are independent draws within their stratum, and photos are drawn once for all. The variance is V_rows +
    V_photos - V_cells, where V_cells is what both of the others contain (Cameron, Gelbach & Miller 2011), and at least
    V_rows, V_photos, and that of two discordant photos, one in each direction: equal predictions on few photos are no
    certainty. The degrees of freedom are Satterthwaite's (1946) with V_rows as the only uncertain term, as photos are
    many.
    """
    tested = ~np.isnan(values)
    tests, photos = int(tested.sum()), int(tested.any(axis=0).sum())
    within = np.unique(strata)
    freedom = len(values) - len(within)
    if freedom < MIN_FREEDOM or photos < 2:
        return None
    residuals, v_rows, v_cells = np.zeros_like(values), 0.0, 0.0
    for stratum in within:
        rows = strata == stratum
        own = residuals[rows] = np.where(tested[rows], values[rows] - np.nanmean(values[rows]), 0.0)
        runs = tested[rows].sum(axis=0)  # that tested each photo
        centered = own - np.where(runs > 1, own.sum(axis=0) / np.maximum(runs, 1), 0.0) * tested[rows]
        v_rows += len(own) / (len(own) - 1) * (own.sum(axis=1) ** 2).sum() / tests**2
        v_cells += (
            (centered**2).sum(axis=0) * np.where(runs > 1, runs / np.maximum(runs - 1, 1), 1.0)
        ).sum() / tests**2
    v_photos = max(photos / (photos - 1) * (residuals.sum(axis=0) ** 2).sum() / tests**2, 2 / photos**2)
    variance = max(v_rows + v_photos - v_cells, v_rows, v_photos)
    freedom = min(freedom * (variance / max(v_rows, 1e-12)) ** 2, photos - 1)
    return Estimate(float(np.nanmean(averages)), math.sqrt(variance), freedom)


def _within_0_and_1(found: Estimate) -> tuple[float, float]:
    low, high = found.interval
    return max(low, 0.0), min(high, 1.0)
