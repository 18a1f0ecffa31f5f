"""The area under the ROC curve with its interval."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t


def mean_auc(scores: NDArray[np.float64], labels: NDArray[np.bool_], confidence: float = 0.95) -> tuple[float, ...]:
    """Area under the ROC curve, the mean over nets, with the ends of its interval.

    The area is the chance that a photo of class 1 has a higher score than one of class 0; a tie counts half.

    One net: the variance is that of DeLong, DeLong & Clarke-Pearson (1988), and speaks of other photos. Several nets:
    Obuchowski & Rockette (1995), the variance between nets plus the mean of DeLong's covariances between two nets,
    with the degrees of freedom of Hillis (2007); it speaks of other photos and other initial weights. The interval is
    made on the logit scale, so that it stays between 0 and 1.

    Degenerate cases:
        Area 0 or 1, or a class with one photo: DeLong's variance is 0 or undefined; the interval is Wilson's with the
        largest variance that an area can have, that of a share of min(n0, n1) photos (van Dantzig 1951).
        All scores of every net equal: the area of such nets is 0.5, whatever the photos; the interval is that point.

    Args:
        scores: of class 1, higher is likelier, (nets, photos).
        labels: whether a photo is of class 1, (photos,); both classes must occur.
        confidence: of the interval.
    """
    ones, zeros = _placements(scores, labels)
    areas = ones.mean(axis=1)
    area, fewest = float(areas.mean()), min(ones.shape[1], zeros.shape[1])
    if (scores == scores[:, :1]).all():
        return area, area, area
    if fewest < 2 or area in (0, 1):
        return area, *_widest_interval(area, fewest, confidence)
    covariance = np.atleast_2d(np.cov(ones)) / ones.shape[1] + np.atleast_2d(np.cov(zeros)) / zeros.shape[1]
    variance, freedom = _variance(areas, covariance)
    half = t.ppf((1 + confidence) / 2, freedom) * math.sqrt(variance) / (area * (1 - area))
    return area, float(expit(logit(area) - half)), float(expit(logit(area) + half))


def _placements(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Of every photo the share of the other class that it is on the right side of: (nets, ones) and (nets, zeros).

    From midranks, as Sun & Xu (2014) do, because all pairs would be too many.
    """
    ones, zeros = scores[:, labels], scores[:, ~labels]
    among_all = rankdata(scores, axis=1)
    above = (among_all[:, labels] - rankdata(ones, axis=1)) / zeros.shape[1]
    below = 1 - (among_all[:, ~labels] - rankdata(zeros, axis=1)) / ones.shape[1]
    return above, below


def _variance(areas: NDArray[np.float64], covariance: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean area and its degrees of freedom, from DeLong's covariances between nets, (nets, nets)."""
    nets = len(areas)
    if nets == 1:
        return float(covariance[0, 0]), math.inf
    between = float(areas.var(ddof=1)) / nets
    shared = max((covariance.sum() - covariance.trace()) / (nets * (nets - 1)), 0.0)
    variance = max(between + shared, covariance.mean())  # the last: the nets as they are
    return variance, (nets - 1) * (variance / max(between, 1e-12)) ** 2


def _widest_interval(share: float, count: int, confidence: float) -> tuple[float, float]:
    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2 / count
    half = math.sqrt(z2 * share * (1 - share) + z2**2 / 4)
    return max((share + z2 / 2 - half) / (1 + z2), 0.0), min((share + z2 / 2 + half) / (1 + z2), 1.0)
