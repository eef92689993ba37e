from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from whimbrel.analysis.intervals import Interval, least_for_quantile, median_of, quantile_or_none, success_rate
from whimbrel.errors import UsageError

figures = some.lists(some.floats(1e-3, 1e3), min_size=6, max_size=25)


# Order statistics that hold a median with 95 %, as many left out at either end: any table of the sign test.
@pytest.mark.parametrize(("count", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (50, 18, 33)])
def test_a_median_lies_between_two_order_statistics(count: int, low: int, high: int) -> None:
    shuffled = np.random.default_rng(1).permutation(np.arange(1.0, count + 1)).tolist()
    assert median_of(shuffled).interval == Interval(low, high, 0.95)
    # They miss it when fewer than ``low`` of the figures are on one side, and one fewer left out would be too few.
    assert 2 * binom.cdf(low - 1, count, 0.5) <= 0.05 < 2 * binom.cdf(low, count, 0.5)


def test_too_few_figures_have_a_median_but_no_interval() -> None:
    assert median_of([5, 1, 2, 3, 4]).interval is None
    assert median_of([5, 1, 2, 3, 4]).median == 3
    assert median_of([5, 1, 2, 3, 4], confidence=0.9).interval is not None


def test_what_is_not_known_is_left_out_and_never_0() -> None:
    found = median_of([None, 4, None, 6])
    assert (found.known, found.median) == (2, 5)
    assert median_of([None]).median is None
    assert success_rate(0, 0).share is None
    assert quantile_or_none([None] * 100, 0.95) is None


@given(figures, some.floats(0.01, 100))
@effort(max_examples=15, deadline=None)
def test_another_unit_gives_the_same_interval(values: list[float], factor: float) -> None:
    here, there = median_of(values), median_of([factor * value for value in values])
    assert here.interval is not None
    assert there.interval is not None
    assert (there.interval.low, there.interval.high) == pytest.approx((factor * here.interval.low, factor * here.interval.high))
    assert here.median is not None
    assert here.interval.holds(here.median)


# Wilks' numbers for one-sided tolerance limits: 59 for 95/95, 90 for 95/99, 299 for 99/95.
@pytest.mark.parametrize(
    ("quantile", "confidence", "least"), [(0.95, 0.95, 59), (0.95, 0.99, 90), (0.99, 0.95, 299), (0.5, 0.95, 5)]
)
def test_a_tail_takes_as_many_figures_as_wilks_says(quantile: float, confidence: float, least: int) -> None:
    assert least_for_quantile(quantile, confidence) == least
    assert quantile_or_none([float(value) for value in range(least - 1)], quantile, confidence) is None
    found = quantile_or_none([float(value) for value in range(least)], quantile, confidence)
    assert found is not None
    assert found.upper == least - 1
    assert found.value < found.upper


def test_with_more_figures_the_bound_comes_down_from_the_greatest() -> None:
    found = quantile_or_none([float(value) for value in range(1, 101)], 0.95)
    assert found is not None
    # The 99th of 100: all figures below it are too few only when 99 or more of them are below the quantile, 3.7 %.
    assert found.upper == 99
    assert binom.sf(98, 100, 0.95) == pytest.approx(0.0371, abs=1e-4)


@pytest.mark.parametrize("succeeded", [0, 1, 7, 10])
def test_a_success_rate_is_clopper_and_pearsons(succeeded: int) -> None:
    found = success_rate(succeeded, 10)
    low, high = proportion_confint(succeeded, 10, method="beta")
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.share == succeeded / 10


def test_ten_of_ten_may_be_seven_of_ten() -> None:
    assert str(success_rate(10, 10).interval) == "[0.6915 to 1]"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="3 of 2"):
        success_rate(3, 2)
    with pytest.raises(UsageError, match="high quantile"):
        quantile_or_none([1.0], 95)
    with pytest.raises(UsageError, match="infinite or no number"):
        median_of([1.0, float("nan")])
    with pytest.raises(UsageError, match="confidence"):
        median_of([1.0], confidence=1)
