from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some

from whimbrel.analysis.ratios import ratio_of
from whimbrel.analysis.verdicts import Comparison, Verdict, equivalence_p, holm, judge
from whimbrel.errors import UsageError


def comparison(ratio: float, spread: float, blocks: int, name: str = "nested", seed: int = 1) -> Comparison:
    logs = math.log(ratio) + spread * np.random.default_rng(seed).permutation(np.linspace(-1.5, 1.6, blocks))
    return Comparison(name, np.exp(logs).tolist(), [1.0] * blocks)


def only(ratio: float, spread: float, blocks: int) -> Verdict:
    return judge([comparison(ratio, spread, blocks)])[0]


def test_holms_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_one_that_is_unknown_counts_in_its_family() -> None:
    assert holm([0.02, None]) == [pytest.approx(0.04), None]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_holm_is_between_the_test_alone_and_bonferroni(count: int) -> None:
    p_values = np.random.default_rng(count).uniform(0, 0.3, count).tolist()
    for alone, adjusted in zip(p_values, holm(list(p_values)), strict=True):
        assert adjusted is not None
        assert alone - 1e-12 <= adjusted <= min(1.0, len(p_values) * alone) + 1e-12


@given(some.integers(0, 10**6), some.floats(0.9, 1.1))
@effort(max_examples=25, deadline=None)
def test_two_one_sided_tests_are_an_interval_within_the_margin(seed: int, ratio: float) -> None:
    theirs = np.exp(np.random.default_rng(seed).normal(0, 0.04, 10)).tolist()
    interval = ratio_of([ratio] * 10, theirs, confidence=0.9).interval
    assert interval is not None
    within = interval.low > 1 / 1.05 and interval.high < 1.05
    p = equivalence_p([ratio] * 10, theirs, 0.05)
    assert p is not None
    assert (p <= 0.05) == within


def test_different() -> None:
    found = only(1.2, 0.05, 10)
    assert (found.different, found.equivalent, found.more_blocks) == (True, False, None)
    assert found.words == "nested: different; ratio 1.203 [1.152 to 1.256] from 10 blocks."


def test_equivalent() -> None:
    found = only(1.0, 0.02, 10)
    assert (found.different, found.equivalent, found.more_blocks) == (False, True, None)
    assert found.words.startswith("nested: equivalent within 5 %; ratio 1.00")


def test_both() -> None:
    found = only(1.01, 0.001, 10)
    assert (found.different, found.equivalent) == (True, True)
    assert found.words.startswith("nested: different, but within 5 %; ratio 1.010 [1.009 to 1.011]")


def test_undecided_says_how_many_more() -> None:
    found = only(1.04, 0.06, 8)
    assert found.undecided
    assert found.more_blocks is not None
    assert found.more_blocks > 8
    assert found.words.startswith(f"nested: undecided (about {found.more_blocks} more blocks); ratio 1.04")


def test_too_few_blocks() -> None:
    assert "ratio 1.045 from 3 blocks, too few for an interval." in only(1.04, 0.1, 3).words
    assert "one block says nothing of the spread" in judge([Comparison("x", [1.1], [1.0])])[0].words
    nothing = judge([Comparison("x", [None], [1.0])])[0]
    assert (nothing.p_different, nothing.p_equivalent, nothing.undecided) == (None, None, True)
    assert nothing.words == "x: undecided, as no block has both figures."


def test_beyond_hope() -> None:
    assert "more than 1000 blocks needed" in only(1.0501, 3.0, 8).words


def test_one_of_many_needs_more_to_be_called_different() -> None:
    alone = judge([comparison(1.1, 0.05, 6)])[0]
    among = judge([comparison(1.1, 0.05, 6), *(comparison(1.0, 0.05, 6, f"other {number}") for number in range(3))])[0]
    assert alone.different
    assert not among.different
    assert among.p_different_alone == alone.p_different
    assert among.words.endswith("from 6 blocks (an interval for this one of 4 comparisons alone).")


@given(some.integers(0, 10**6), some.floats(0.8, 1.25))
@effort(max_examples=15, deadline=None)
def test_swapping_the_arms_keeps_the_verdict(seed: int, ratio: float) -> None:
    ours = (ratio * np.exp(np.random.default_rng(seed).normal(0, 0.04, 9))).tolist()
    here, there = (judge([Comparison("x", one, other)])[0] for one, other in ((ours, [1.0] * 9), ([1.0] * 9, ours)))
    assert (here.different, here.equivalent) == (there.different, there.equivalent)
    assert here.p_different == there.p_different
    assert here.p_equivalent == pytest.approx(there.p_equivalent)


def test_a_margin_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="margin of 0 "):
        judge([], margin=0)
    assert judge([]) == []
