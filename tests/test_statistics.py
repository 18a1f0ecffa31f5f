import dataclasses
import math
import random
import runpy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import t

from catdog.statistics import Estimate, for_any_photos, for_these_photos, holm, mean_accuracy
from conftest import ROOT

Floats = NDArray[np.float64]
Sets = NDArray[np.int64]
Answer = Callable[[Floats, Sets], Estimate | None]
ANSWERS: list[Answer] = [for_these_photos, *(partial(for_any_photos, overlap=overlap) for overlap in (0.0, 1 / 8))]
both_answers = pytest.mark.parametrize("answer", ANSWERS, ids=["these", "any, disjoint", "any, folds"])


def in_folds(values: Floats, sets: Sets) -> Floats:
    """Move each run's photos to columns of its set alone, NaN elsewhere."""
    return np.concatenate([np.where((sets == one)[:, None], values, np.nan) for one in np.unique(sets)], axis=1)


@st.composite
def studies(draw: st.DrawFn) -> tuple[Floats, Sets]:
    """Paired differences and sets: three or four sets with one to three runs each, same photos or folds."""
    counts = draw(st.lists(st.integers(1, 3), min_size=3, max_size=4))
    sets, photos = np.repeat(np.arange(len(counts)), counts), draw(st.integers(2, 12))
    values = draw(arrays(np.float64, (len(sets), photos), elements=st.sampled_from([-1.0, 0.0, 1.0])))
    return (in_folds(values, sets) if draw(st.booleans()) else values), sets


def sure(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


@both_answers
@given(study=studies(), shuffle=st.randoms(use_true_random=False))
def test_order_and_sign_do_not_matter(answer: Answer, study: tuple[Floats, Sets], shuffle: random.Random) -> None:
    values, sets = study
    runs, photos = list(range(values.shape[0])), list(range(values.shape[1]))
    shuffle.shuffle(runs)
    shuffle.shuffle(photos)
    padded = np.pad(-values[runs][:, photos], ((0, 0), (0, 3)), constant_values=np.nan)  # three that nobody tested
    forth, back = sure(answer(values, sets)), sure(answer(padded, sets[runs]))
    assert dataclasses.astuple(back) == pytest.approx((-forth.mean, forth.error, forth.freedom), rel=1e-6, abs=1e-9)


@both_answers
@given(study=studies())
def test_the_estimate_agrees_with_itself(answer: Answer, study: tuple[Floats, Sets]) -> None:
    found = sure(answer(*study))
    low, high = found.interval
    assert low < found.mean < high
    assert 0 <= found.p_value <= 1
    if abs(found.p_value - 0.05) > 1e-6:
        assert (found.p_value < 0.05) == (low > 0 or high < 0)
    assert (high - low) / 2 < found.detectable() < found.detectable(comparisons=3)


@both_answers
@given(study=studies())
def test_equal_predictions_are_no_evidence_and_no_certainty(answer: Answer, study: tuple[Floats, Sets]) -> None:
    found = sure(answer(study[0] * 0, study[1]))
    assert (found.mean, found.p_value) == (0, 1)
    assert found.interval[0] < 0 < found.interval[1]


@given(studies())
def test_any_photos_are_never_surer_than_these(study: tuple[Floats, Sets]) -> None:
    these, any_photos, folds = (sure(answer(*study)) for answer in ANSWERS)
    assert these.mean == pytest.approx(any_photos.mean, abs=1e-12) == folds.mean
    widths = [found.interval[1] - found.interval[0] for found in (these, any_photos, folds)]
    assert widths == pytest.approx(sorted(widths))


@pytest.mark.parametrize("answer", ANSWERS[:2])
def test_repeating_a_run_adds_no_certainty_about_photos(answer: Answer) -> None:
    one = np.random.default_rng(0).integers(-1, 2, 200).astype(float)
    found = sure(answer(np.tile(one, (12, 1)), np.repeat(np.arange(4), 3)))
    assert (found.error, found.freedom) == pytest.approx((one.std(ddof=1) / math.sqrt(200), 199))


def test_a_set_with_more_runs_counts_no_more() -> None:
    values, sets = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), np.array([0, 0, 0, 1, 1])
    assert sure(for_these_photos(values, sets)).mean == 0.5


@pytest.mark.parametrize(("counts", "these", "other"), [([1], 0, 0), ([2], 0, 0), ([5], 1, 0), ([1, 1], 0, 0)])
def test_too_few_runs_give_no_estimate(counts: list[int], these: bool, other: bool) -> None:
    values, sets = np.eye(sum(counts), 50), np.repeat(np.arange(len(counts)), counts)
    found = [for_these_photos(values, sets), for_any_photos(values, sets, 0.0)]
    assert [estimate is not None for estimate in found] == [these, other]


@pytest.mark.parametrize("runs", [1, 2])
def test_folds_follow_nadeau_and_bengio_and_repeated_runs_change_nothing(runs: int) -> None:
    # folds that differ far more than their photos do
    means, sets = np.array([0.3, 0.9, 0.1, 0.6, 0.5]), np.repeat(np.arange(5), runs)
    values = in_folds(np.repeat(means[sets, None], 20, axis=1), sets)
    found = sure(for_any_photos(values, sets, 200 / 1600))
    error = math.sqrt((1 / 5 + 200 / 1600) * means.var(ddof=1))
    assert found.error == pytest.approx(error)
    assert found.interval[1] - found.mean == pytest.approx(t.ppf(0.975, 4) * error)


def test_two_way_variance_against_variances_of_means() -> None:
    rng = np.random.default_rng(3)
    lean = rng.uniform(0.1, 0.9, 60) + np.array([-0.4, -0.2, 0.0, 0.2, 0.4])[:, None, None]
    values = (rng.random((5, 4, 60)) < lean).astype(float)  # sets, runs of each, photos

    def two_way(rows: Floats) -> tuple[float, float]:
        of_rows = rows.mean(axis=1).var(ddof=1) / len(rows)
        variance = of_rows + rows.mean(axis=0).var(ddof=1) / 60 - rows.var(axis=0, ddof=1).mean() / len(rows) / 60
        return variance, (len(rows) - 1) * (variance / of_rows) ** 2

    found = sure(for_any_photos(values.reshape(20, 60), np.repeat(np.arange(5), 4), 0.0))
    assert (found.error**2, found.freedom) == pytest.approx(two_way(values.mean(axis=1)))
    one_set = sure(for_these_photos(values[:, 0], np.zeros(5, int)))
    assert (one_set.error**2, one_set.freedom) == pytest.approx(two_way(values[:, 0]))
    assert mean_accuracy(values[:, 0])[1] == pytest.approx(one_set.interval)


def test_the_accuracy_of_one_run_has_wilsons_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    found: Any = mean_accuracy(np.repeat([[1.0, 0.0]], [81, 182], axis=1))
    assert found == (81 / 263, pytest.approx((0.2553, 0.3662), abs=5e-5))
    assert mean_accuracy(np.ones((2, 50))) == (1.0, None)  # two runs are too few


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_accuracy_without_errors_keeps_an_interval_within_0_and_1(share: float) -> None:
    mean, interval = mean_accuracy(np.full((5, 50), share))
    assert mean == share
    assert interval is not None
    assert 0 <= interval[0] < interval[1] <= 1


def test_holms_adjustment_worked_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.5, times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(("group", "answer"), [("SEEDS", 0), ("SETS", 1), ("FOLDS", 0), ("FOLDS", 2)])
def test_recommended_designs_keep_their_promise(group: str, answer: int) -> None:
    simulation = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts/lab/simulation.py")))
    design, fixed = getattr(simulation, group)[-2], answer == 0
    margin = 200 * math.sqrt(0.07 * 0.93 / 300)  # of 300 studies
    equal = simulation.judge(design, 0.0, fixed, 300, 1, ANSWERS[answer])
    assert simulation.holding(equal, 0.0) >= 93 - margin
    better = simulation.judge(design, 0.04, fixed, 300, 2, ANSWERS[answer])
    assert simulation.holding(better, 0.04) >= 93 - margin
    assert better["mean"].mean() == pytest.approx(4, abs=0.3)
