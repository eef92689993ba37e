from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from scipy.stats import wilcoxon

from whimbrel.analysis.ratios import log_ratios, p_ratio, ratio_of
from whimbrel.errors import UsageError

pairs = some.lists(some.tuples(some.floats(0.5, 2), some.floats(0.5, 2)), min_size=6, max_size=10)


def ours_and_theirs(seed: int, ratio: float, blocks: int = 10) -> tuple[list[float], list[float]]:
    dice = np.random.default_rng(seed)
    moods = np.exp(dice.normal(size=blocks))
    ours, theirs = (moods * np.exp(0.05 * dice.normal(size=blocks)) for _ in range(2))
    return (ratio * ours).tolist(), theirs.tolist()


def test_a_ratio_is_found_whatever_the_mood_of_the_blocks() -> None:
    found = ratio_of(*ours_and_theirs(1, 1.3))
    assert found.ratio == pytest.approx(1.3, rel=0.05)
    assert found.interval is not None
    assert found.interval.holds(1.3)
    assert not found.interval.holds(1.0)
    assert found.p_same == pytest.approx(2 / 2**10)
    assert found.spread == pytest.approx(0.05 * math.sqrt(2), rel=0.5)


def test_it_is_the_signed_rank_test_of_log_ratios() -> None:
    ours, theirs = ours_and_theirs(2, 1.02)
    assert p_ratio(ours, theirs) == pytest.approx(wilcoxon(np.log(ours), np.log(theirs)).pvalue)
    moved = np.log(ours) - np.log(theirs) - np.log(1.1)
    assert p_ratio(ours, theirs, 1.1, "less") == pytest.approx(wilcoxon(moved, alternative="less").pvalue)


def test_twice_as_long_in_each_of_six_blocks() -> None:
    found = ratio_of([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert found.interval is not None
    assert (found.ratio, found.interval.low, found.interval.high) == pytest.approx((2, 2, 2))
    assert found.p_same == 2 / 2**6


@given(pairs)
@effort(max_examples=20, deadline=None)
def test_swapping_the_arms_turns_the_ratio_over(both: list[tuple[float, float]]) -> None:
    ours, theirs = [one for one, _ in both], [other for _, other in both]
    here, there = ratio_of(ours, theirs), ratio_of(theirs, ours)
    assert here.interval is not None
    assert there.interval is not None
    assert here.ratio is not None
    assert there.ratio == pytest.approx(1 / here.ratio)
    assert (there.interval.low, there.interval.high) == pytest.approx((1 / here.interval.high, 1 / here.interval.low))
    assert there.p_same == here.p_same


@given(pairs, some.sampled_from([1e-3, 1e3, 1 / 1024]))
@effort(max_examples=20, deadline=None)
def test_another_unit_changes_nothing(both: list[tuple[float, float]], factor: float) -> None:
    here = ratio_of([one for one, _ in both], [other for _, other in both])
    there = ratio_of([factor * one for one, _ in both], [factor * other for _, other in both])
    assert there.ratio == pytest.approx(here.ratio)
    assert there.p_same == here.p_same


def test_a_block_that_lacks_a_figure_is_left_out_and_counted() -> None:
    found = ratio_of([2, None, 2, 2], [1, 1, None, 1])
    assert (found.blocks, found.left_out, found.interval) == (2, 2, None)
    assert found.ratio == pytest.approx(2)
    nothing = ratio_of([None], [1])
    assert (nothing.blocks, nothing.ratio, nothing.p_same, nothing.spread) == (0, None, None, None)
    assert p_ratio([None], [1]) is None


def test_equal_ratios_have_equal_logarithms() -> None:
    assert len(set(log_ratios([40, 20, 60, 0.4], [36, 18, 54, 0.36]).tolist())) == 1


@pytest.mark.parametrize("figure", [0, -1, float("nan"), float("inf")])
def test_a_figure_without_a_ratio_is_refused(figure: float) -> None:
    with pytest.raises(UsageError, match="has no ratio"):
        ratio_of([figure], [1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="2 blocks on one side, 1 on the other"):
        ratio_of([1, 2], [1])
    with pytest.raises(UsageError, match="a ratio of 0"):
        p_ratio([1], [1], 0)
