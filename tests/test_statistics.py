import dataclasses
import importlib.util
import math
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import t

from catdog.statistics import RUN_SPREAD, holm, mean_accuracy, paired_difference, wilson_interval

Floats = NDArray[np.float64]


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_solves_wilsons_equation(counts: tuple[int, int]) -> None:
    correct, total = counts
    share, z = correct / total, 1.959963984540054
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for bound in (low, high):
        assert math.isclose((share - bound) ** 2, z**2 * bound * (1 - bound) / total, abs_tol=1e-9)


def test_a_known_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_nothing_seen_gives_no_interval() -> None:
    with pytest.raises(ValueError, match="n"):
        wilson_interval(0, 0)


def folds_apart(correct: Floats, folds: int) -> Floats:
    """(folds × seeds, photos) → the same with NaN outside the columns of each row's own fold."""
    apart = np.full((len(correct), folds * correct.shape[1]), np.nan)
    for run, row in enumerate(correct):
        start = run % folds * len(row)
        apart[run, start : start + len(row)] = row
    return apart


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Two settings' correctness: one to five runs on one split, or two or three folds with one or two seeds."""
    folds, seeds = draw(st.sampled_from([(1, 1), (1, 2), (1, 5), (2, 1), (3, 1), (3, 2)]))
    photos = draw(st.integers(2, 12))
    a, b = draw(arrays(np.float64, (2, folds * seeds, photos), elements=st.sampled_from([0.0, 1.0])))
    return (folds_apart(a, folds), folds_apart(b, folds)) if folds > 1 else (a, b)


@given(pairs())
def test_swapping_the_settings_turns_the_sign(pair: tuple[Floats, Floats]) -> None:
    forth, back = paired_difference(*pair), paired_difference(*pair[::-1])
    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=1e-12)
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.detectable == pytest.approx(back.detectable)


@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_runs_and_photos_does_not_matter(pair: tuple[Floats, Floats], shuffle: random.Random) -> None:
    a, b = pair
    runs, photos = list(range(a.shape[0])), list(range(a.shape[1]))
    shuffle.shuffle(runs)
    shuffle.shuffle(photos)
    as_it_is = paired_difference(a, b)
    shuffled = paired_difference(a[runs][:, photos], b[runs][:, photos])
    assert dataclasses.astuple(shuffled) == pytest.approx(dataclasses.astuple(as_it_is), abs=1e-9)


@given(pairs())
def test_the_result_agrees_with_itself(pair: tuple[Floats, Floats]) -> None:
    a, b = pair
    result = paired_difference(a, b)
    assert result.mean == pytest.approx(np.nanmean(a) - np.nanmean(b))
    assert result.low <= result.mean <= result.high
    assert result.high - result.low > 0
    assert 0 <= result.p_value <= 1
    assert result.runs == len(a)
    assert result.photos == a.shape[1]
    if abs(result.p_value - 0.05) > 1e-6:
        assert (result.p_value < 0.05) == (result.low > 0 or result.high < 0)


@given(pairs())
def test_photos_that_nobody_tested_do_not_count(pair: tuple[Floats, Floats]) -> None:
    a, b = (np.pad(correct, ((0, 0), (0, 3)), constant_values=np.nan) for correct in pair)
    padded, plain = paired_difference(a, b), paired_difference(*pair)
    assert dataclasses.astuple(padded) == pytest.approx(dataclasses.astuple(plain), abs=1e-12)


@given(pairs())
def test_equal_predictions_are_no_evidence_and_no_certainty(pair: tuple[Floats, Floats]) -> None:
    result = paired_difference(pair[0], pair[0])
    assert (result.mean, result.p_value) == (0, 1)
    assert result.low < 0 < result.high


def test_repeating_a_run_adds_no_certainty_about_photos() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 1, 200)).astype(float)
    difference = (a - b)[0]
    repeated = paired_difference(np.repeat(a, 8, axis=0), np.repeat(b, 8, axis=0))
    half = t.ppf(0.975, 199) * difference.std(ddof=1) / math.sqrt(200)
    assert (repeated.low, repeated.high) == pytest.approx(
        (difference.mean() - half, difference.mean() + half), rel=1e-6
    )


def test_one_run_adds_the_spread_of_other_initial_weights() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (2, 1, 200)).astype(float)
    result = paired_difference(a, b)
    error = math.sqrt((a - b).var(ddof=1) / 200 + 2 * RUN_SPREAD**2)
    assert result.high - result.mean == pytest.approx(t.ppf(0.975, 199) * error)
    assert result.detectable == pytest.approx((t.ppf(0.975, 199) + t.ppf(0.8, 199)) * error)


def test_folds_follow_nadeau_and_bengio() -> None:
    # folds that differ far more than their photos do
    a = folds_apart(np.repeat([[1.0], [0.0]] * 5, 20, axis=1), 10)
    b = np.where(np.isnan(a), np.nan, 0.0)
    error = math.sqrt((1 / 10 + 1 / 9) * np.nanmean(a, axis=1).var(ddof=1))
    result = paired_difference(a, b)
    assert result.mean - result.low == pytest.approx(t.ppf(0.975, 9) * error)
    assert result.p_value == pytest.approx(2 * t.sf(result.mean / error, 9))


def test_two_way_variance_against_variances_of_means() -> None:
    rng = np.random.default_rng(3)
    lean = rng.uniform(0.1, 0.9, 60) + np.array([[-0.4], [-0.2], [0.0], [0.2], [0.4]])
    a = (rng.random((5, 60)) < lean).astype(float)
    runs = a.mean(axis=1).var(ddof=1) / 5
    variance = runs + a.mean(axis=0).var(ddof=1) / 60 - a.var(ddof=1) / 300
    freedom = min(4 * (variance / runs) ** 2, 59)
    result = paired_difference(a, np.zeros_like(a))
    assert variance > runs
    assert result.mean - result.low == pytest.approx(t.ppf(0.975, freedom) * math.sqrt(variance))
    assert mean_accuracy(a)[1:] == pytest.approx((result.low, result.high))


def test_the_accuracy_of_one_run_has_wilsons_interval() -> None:
    correct = np.array([[1.0] * 120 + [0.0] * 80 + [np.nan] * 5])
    assert mean_accuracy(correct) == (0.6, *wilson_interval(120, 200))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_accuracy_without_errors_keeps_an_interval_within_0_and_1(share: float) -> None:
    mean, low, high = mean_accuracy(np.full((5, 50), share))
    assert mean == share
    assert 0 <= low < high <= 1


def test_holms_adjustment_worked_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.5, times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04, 0.03, 0.9]) == pytest.approx([0.09, 0.09, 0.9])
    assert holm([]) == []


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "lab" / "simulation.py"
    spec = importlib.util.spec_from_file_location("simulation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up here
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["one split, 1 seed", "one split, 5 seeds", "one split, 10 seeds", "ten folds"])
def test_equal_nets_are_rarely_called_different_and_real_differences_covered(simulation: ModuleType, name: str) -> None:
    design = next(design for design in simulation.DESIGNS if design.name.startswith(name))
    equal = simulation.run(design, 0.0, 300, seed=1)
    margin = 2 * math.sqrt(0.07 * 0.93 / 300)  # of 300 studies
    assert equal.found <= 100 * (0.07 + margin)
    assert equal.width < 1.4 * equal.oracle
    better = simulation.run(design, equal.detectable / 100, 300, seed=2)
    assert better.covered >= 100 * (0.93 - margin)
    assert 70 < better.found < 95


def test_the_simulated_studies_have_the_difference_they_were_asked_for(simulation: ModuleType) -> None:
    design = simulation.DESIGNS[-1]
    correct = simulation.draw(design, 0.05, 300, np.random.default_rng(0), simulation.ASSUMED)
    assert correct.shape == (300, 2, 30, 2000)
    assert np.nanmean(correct, axis=(0, 2, 3)) == pytest.approx([0.63, 0.58], abs=0.005)
    assert (np.isfinite(correct).sum(axis=3) == 200).all()  # each run tests its own fold alone
