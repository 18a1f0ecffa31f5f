import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catdog.statistics import wilson_interval


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
