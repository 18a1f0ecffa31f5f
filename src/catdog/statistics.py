"""Intervals and tests for accuracies; `docs/statistics.md` says why these and how they were checked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

RUN_SPREAD = 0.02  # standard deviation of test accuracy over initial weights; stands in where a single run shows none


@dataclass(frozen=True)
class Difference:
    """The accuracy of one setting minus that of another; shares, so 0.01 is one point."""

    mean: float  # over all tests of a photo by a pair of runs
    low: float  # end of the interval
    high: float
    p_value: float  # two-sided, of a difference at least this large where there is none; not adjusted, see `holm`
    detectable: float  # smallest true difference that 80 % of such comparisons would find at the 5 % level
    runs: int  # pairs of runs
    photos: int  # distinct test photos


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The interval for a share, such as an accuracy, of which `correct` in `total` were seen.

    Wilson (1927), without continuity correction. It treats the `total` as drawn independently and at random, so it
    speaks of other photos of this kind, not of other initial weights.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Difference:
    """Compare how often settings `a` and `b` are correct, on the same photos and with the same seeds.

    The standard error is `_standard_error`'s, of the differences per run and photo; the test is Student's t.

    Degenerate cases:
        One run: other initial weights cannot be seen, so the spread they had elsewhere (`RUN_SPREAD`, once per
        setting) is added to the variance; the interval is as good as that number.
        One split, with any number of seeds: the answer holds for nets trained on this split's training photos.
        Two runs: valid, but so wide that it hardly helps; five or more are worth their time.
        Equal predictions: the difference is 0 and p is 1, but the interval keeps a width (see `_standard_error`).

    Args:
        a: (runs, photos), 2 photos at least, 1 correct, 0 wrong, NaN where that run did not test that photo.
        b: as `a`; the same row is the same fold and seed, the same column the same photo.
    """
    mean = float(np.nanmean(a - b))
    error, freedom = _standard_error(a - b, unseen=2 * RUN_SPREAD**2)
    half = error * t.ppf(0.975, freedom)
    return Difference(
        mean=mean,
        low=float(max(mean - half, -1)),
        high=float(min(mean + half, 1)),
        p_value=float(2 * t.sf(abs(mean) / error, freedom)),
        detectable=float(error * (t.ppf(0.975, freedom) + t.ppf(0.8, freedom))),
        runs=len(a),
        photos=_photos(a),
    )


def mean_accuracy(correct: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean accuracy of one setting with the ends of its interval, all shares.

    Several runs: Student's t with `_standard_error`. One run: `wilson_interval`, which speaks of other photos only.

    `correct` is (runs, photos): 1 correct, 0 wrong, NaN where that run did not test that photo.
    """
    mean = float(np.nanmean(correct))
    if len(correct) == 1:
        return mean, *wilson_interval(int(np.nansum(correct)), int(np.isfinite(correct).sum()))
    error, freedom = _standard_error(correct, unseen=0.0)
    half = error * t.ppf(0.975, freedom)
    return mean, float(max(mean - half, 0)), float(min(mean + half, 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of even one false alarm among them stays at the level; Holm (1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.sort(p_values) * np.arange(len(order), 0, -1)).clip(max=1)
    return [float(p) for p in adjusted]


def _standard_error(values: NDArray[np.float64], unseen: float) -> tuple[float, float]:
    """Standard error of the mean of `values`, (runs, photos) with NaN, and its degrees of freedom.

    Cameron, Gelbach & Miller (2011): V_groups + V_photos - V_cells, each with its correction G / (G - 1). Groups are
    runs where all runs tested the same photos, otherwise folds: runs of one fold share their training photos. Degrees
    of freedom: Satterthwaite (1946), counting only V_groups as uncertain, as photos are many. With several folds, what
    overlapping training sets add is n_test / n_train × s², where s² is the variance of single runs' means and photos
    that a run did not test are its training photos; Nadeau & Bengio (2003).

    The variance is at least V_groups, V_photos, and that of two photos which decide it, one each way: no net is
    certain because few photos were tried. One run has no V_groups; its variance is V_photos + `unseen`.
    """
    tested = ~np.isnan(values)
    fold = np.unique(np.packbits(tested, axis=1), axis=0, return_inverse=True)[1].ravel()  # photos that a run tested
    folds = int(fold.max()) + 1
    group = fold if folds > 1 else np.arange(len(fold))
    member = np.arange(group.max() + 1)[:, None] == group  # (groups, runs)
    residuals = np.where(tested, values - np.nanmean(values), 0.0)
    photos, tests = _photos(values), int(tested.sum())
    v_photos = max(_variance(residuals.sum(axis=0), photos, tests), 2 / photos**2)
    if len(values) == 1:
        return math.sqrt(v_photos + unseen), photos - 1
    per_cell = (member @ residuals)[member @ tested]  # a fold's seeds summed
    v_groups = _variance(member @ residuals.sum(axis=1), len(member), tests)
    v_cells = _variance(per_cell, len(per_cell), tests)
    seen = max(v_groups + v_photos - v_cells, v_groups, v_photos)
    freedom = (len(member) - 1) * (seen / max(v_groups, 1e-12)) ** 2
    per_run = tests / len(values)
    shared = per_run / (photos - per_run) * np.nanmean(values, axis=1).var(ddof=1) if folds > 1 else 0.0
    return math.sqrt(seen + shared), min(freedom, photos - 1)


def _variance(sums: NDArray[np.float64], clusters: int, tests: int) -> float:
    """Variance of a mean over `tests` values from the sums of its residuals over `clusters` independent clusters."""
    return float(clusters / (clusters - 1) * (sums**2).sum() / tests**2)


def _photos(correct: NDArray[np.float64]) -> int:
    """Count the photos that were tested at all."""
    return int((~np.isnan(correct)).any(axis=0).sum())
