"""Confidence intervals and tests for accuracies; `docs/statistics.md` explains their choice and validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2, t

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
        level, freedom = 0.05 / comparisons, self.freedom
        error = self.error * math.sqrt(freedom / chi2.median(freedom))  # half of such studies estimate it too low
        return float(error * (t.ppf(1 - level / 2, freedom) + t.ppf(0.8, freedom)))


def for_these_photos(values: Floats, sets: NDArray[np.int64]) -> Estimate | None:
    """Estimate a mean for nets trained on these training sets: seeds and test photos are chance.

    `values` is (runs, photos), NaN where a run did not test a photo: correctness (1 or 0) for an accuracy, or the
    difference of paired runs' correctness. `sets` (runs,) numbers each run's training set; a set with more runs than
    others counts no more. Runs that share their order of batches, such as replicas, are judged for this order too.

    If a set has a single run, the variance between sets stands in for that between runs, which is no smaller. Returns
    None if there are too few runs, such as one run, or two sets of one run each.
    """
    averages, counts = _average_within(values, sets)
    if counts.min() == 1:
        return _estimate(averages, np.ones(len(counts)), np.zeros(len(counts), int))
    return _estimate(values, 1 / counts[np.unique(sets, return_inverse=True)[1]], sets)


def for_any_photos(values: Floats, sets: NDArray[np.int64], overlap: float) -> Estimate | None:
    """Estimate a mean for any training photos of this kind: training sets are chance too; see `for_these_photos`.

    `overlap` is 0 for disjoint training sets. For sets that share photos, such as those of folds, it is the number of
    test photos over that of training photos of a run: the variance of single runs' means, times `overlap`, is added
    (Nadeau & Bengio 2003). Returns None for fewer than three sets.
    """
    averages, _ = _average_within(values, sets)
    number = len(averages)
    found, fixed = _estimate(averages, np.ones(number), np.zeros(number, int)), for_these_photos(values, sets)
    if found is None or fixed is None:
        return None
    single = np.nanmean(values, axis=1).var() * number / (number - 1)
    error = math.sqrt(max(found.error, fixed.error) ** 2 + overlap * single)
    return Estimate(found.mean, error, min(found.freedom, fixed.freedom))


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a proportion, such as an accuracy, from `correct` of `total`.

    Wilson (1927), without continuity correction. It assumes independent draws, so it covers the sampling of photos, not
    that of initial weights. Raises ValueError if `total` is 0, or `correct` is not between 0 and `total`.
    """
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_accuracy(correct: Floats) -> tuple[float, tuple[float, float] | None]:
    """Compute the mean accuracy of runs on one training set, (runs, photos) of 1 or 0, and its 95 % interval.

    One run: `wilson_interval`, for this very net on other photos. Several: see `for_these_photos`; None if too few.
    """
    mean = float(correct.mean())
    if len(correct) == 1:
        return mean, wilson_interval(int(correct.sum()), correct.size)
    found = for_these_photos(correct, np.zeros(len(correct), int))
    return mean, (max(found.interval[0], 0.0), min(found.interval[1], 1.0)) if found else None


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


def _estimate(values: Floats, weights: Floats, strata: NDArray[np.int64]) -> Estimate | None:
    """Estimate the weighted mean of `values`, (rows, photos) with NaN, and its two-way standard error.

    Rows are independent draws within their stratum, where all have one weight, and photos are drawn once for all. The
    variance is V_rows + V_photos - V_cells, where V_cells is what both of the others contain (Cameron, Gelbach & Miller
    2011), and at least V_rows, V_photos, and that of two discordant photos, one in each direction: equal predictions on
    few photos are no certainty. The degrees of freedom are Satterthwaite's (1946) with V_rows as the only uncertain
    term, as photos are many.
    """
    tested = ~np.isnan(values)
    photos, within = int(tested.any(axis=0).sum()), np.unique(strata)
    freedom = len(values) - len(within)
    if freedom < MIN_FREEDOM or photos < 2:
        return None
    shares = tested * weights[:, None] / (tested.sum(axis=1) @ weights)  # of each test in the mean
    values = np.where(tested, values, 0.0)
    of_photos, v_rows, v_cells = np.zeros(values.shape[1]), 0.0, 0.0
    for stratum in within:
        rows = strata == stratum
        share, runs = shares[rows], tested[rows].sum(axis=0)  # that tested each photo
        own = share * (values[rows] - (share * values[rows]).sum() / share.sum())
        of_photos += own.sum(axis=0)
        v_rows += len(own) / (len(own) - 1) * (own.sum(axis=1) ** 2).sum()
        # one test of a photo shows no variance between runs: its whole residual is in both V_rows and V_photos
        several = np.where(runs > 1, runs / np.maximum(runs - 1, 1), photos / (photos - 1))
        v_cells += (several * ((own**2).sum(axis=0) - (runs > 1) * own.sum(axis=0) ** 2 / np.maximum(runs, 1))).sum()
    v_photos = max(photos / (photos - 1) * (of_photos**2).sum(), 2 / photos**2)
    variance = max(v_rows + v_photos - v_cells, v_rows, v_photos)
    freedom = min(freedom * (variance / max(v_rows, 1e-12)) ** 2, photos - 1)
    return Estimate(float((shares * values).sum()), math.sqrt(variance), freedom)
