from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some

from whimbrel.analysis.overlap import cliffs_delta
from whimbrel.errors import UsageError

figures = some.lists(some.integers(0, 6).map(float), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("ours", "theirs", "delta"),
    [([1, 2], [3, 4], -1), ([3, 4], [1, 2], 1), ([1, 3], [2, 2], 0), ([1, 2, 3], [2], 0), ([2, 3], [2], 0.5)],
)
def test_how_often_one_is_greater_less_how_often_smaller(ours: list[float], theirs: list[float], delta: float) -> None:
    assert cliffs_delta(ours, theirs) == pytest.approx(delta)


@given(figures, figures)
@effort(max_examples=25, deadline=None)
def test_it_is_the_count_of_pairs(ours: list[float], theirs: list[float]) -> None:
    signs = [(one > other) - (one < other) for one in ours for other in theirs]
    assert cliffs_delta(ours, theirs) == pytest.approx(sum(signs) / len(signs))


def test_without_figures_it_is_unknown() -> None:
    assert cliffs_delta([], [1]) is None
    with pytest.raises(UsageError, match="no number"):
        cliffs_delta([float("nan")], [1])
