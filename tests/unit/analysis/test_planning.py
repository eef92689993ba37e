from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from whimbrel.analysis.planning import blocks_needed, blocks_to_equate, blocks_to_tell, pooled_spread, spread_of
from whimbrel.errors import UsageError


@pytest.mark.parametrize("ease", [0.4, 0.5, 0.8])
def test_it_takes_a_twentieth_more_than_students_test(ease: float) -> None:
    # The signed-rank test's efficiency for normal figures is 3 / pi, 0.955.
    student = TTestPower().solve_power(ease, power=0.8, alpha=0.05)
    assert blocks_to_tell(1.0, ease, 0.8, 0.05).blocks == pytest.approx(student * math.pi / 3, abs=1.5)


def test_far_away_it_is_noethers_formula() -> None:
    # (1.96 + 0.84)^2 spread^2 / log(1.05)^2 pi / 3, rounded up; too many to simulate.
    found = blocks_to_tell(0.2, math.log(1.05), 0.8, 0.05)
    assert (found.blocks, found.power) == (math.ceil((1.95996 + 0.84162) ** 2 * 0.04 / math.log(1.05) ** 2 * math.pi / 3), None)


def test_equivalence_is_the_textbooks_formula() -> None:
    # (1.645 + 1.282)^2 spread^2 / log(1.05)^2 pi / 3.
    found = blocks_to_equate(0.2, 0.0, 0.05, 0.8, 0.05)
    assert found.blocks == math.ceil((1.64485 + 1.28155) ** 2 * 0.04 / math.log(1.05) ** 2 * math.pi / 3)


def test_the_power_is_reached_and_with_a_block_less_is_not() -> None:
    found = blocks_to_tell(0.05, math.log(1.07), 0.8, 0.05)
    assert found.blocks == 7
    assert found.power is not None
    assert found.power >= 0.8
    assert blocks_to_tell(0.05, math.log(1.07), found.power + 0.01, 0.05).blocks == 8


def test_more_blocks_for_more_comparisons_less_difference_more_power() -> None:
    def blocks(**changed: float) -> tuple[int, int]:
        numbers = {"spread": 0.06, "difference": 0.07, "power": 0.8, "margin": 0.05, **changed}
        family = int(numbers.pop("family", 1))
        found = blocks_needed(family=family, **numbers)
        assert found.to_tell.blocks is not None
        assert found.to_equate.blocks is not None
        return found.to_tell.blocks, found.to_equate.blocks

    base = blocks()
    assert all(more > less for more, less in zip(blocks(family=5), base, strict=True))
    assert all(more > less for more, less in zip(blocks(power=0.95), base, strict=True))
    assert all(more > less for more, less in zip(blocks(spread=0.09), base, strict=True))
    assert blocks(difference=0.05)[0] > base[0]
    assert blocks(margin=0.03)[1] > base[1]


def test_the_test_needs_so_many_whatever_the_spread() -> None:
    quiet = blocks_needed(0.0, 0.07)
    assert (quiet.to_tell.blocks, quiet.to_equate.blocks) == (6, 5)
    assert blocks_needed(1e-6, 0.07, family=8).to_tell.blocks == 9


def test_what_cannot_be_done_is_said() -> None:
    assert blocks_needed(5.0, 0.01).to_tell.blocks is None
    assert blocks_to_equate(0.05, math.log(1.06), 0.05, 0.8, 0.05).blocks is None


def test_a_pilots_spread_may_be_larger_than_it_looks() -> None:
    pilot = spread_of([0.05, 0.0, -0.05])
    assert pilot is not None
    # Chi-square with 2 degrees of freedom is exponential: the fifth percentile is -2 log(0.95), the twentieth -2 log(0.8).
    assert pilot.spread == pytest.approx(0.05)
    assert pilot.upper == pytest.approx(0.05 * math.sqrt(2 / (-2 * math.log(0.8))))
    careful = spread_of([0.05, 0.0, -0.05], confidence=0.95)
    assert careful is not None
    assert careful.upper == pytest.approx(0.05 * math.sqrt(2 / (-2 * math.log(0.95))))
    assert spread_of([0.05]) is None
    assert spread_of(np.array([])) is None


@pytest.mark.parametrize(
    "wrong",
    [{"difference": 0}, {"spread": -1}, {"power": 1}, {"power": 0.01}, {"margin": 0}, {"spread": float("nan")}, {"family": 0}],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        blocks_needed(**{"spread": 0.05, "difference": 0.07, **wrong})  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        spread_of([float("nan"), 1.0])


def test_a_pooled_spread_weighs_each_ratio_by_what_it_knows_of_its_own() -> None:
    # Two ratios: variances 0.0002 (1 degree of freedom) and 0.0004 (3): (0.0002 + 3 * 0.0004) / 4 = 0.00035.
    short, long = [0.0, 0.02], [0.03, 0.03, -0.01, -0.01]
    found = pooled_spread([short, [0.5], long])
    assert found is not None
    expected = (np.var(short, ddof=1) + 3 * np.var(long, ddof=1)) / 4
    assert found.spread == pytest.approx(math.sqrt(expected))
    assert found.blocks == 5
    alone = spread_of(long)
    assert alone is not None
    # What is pooled is known better than each alone.
    assert found.upper / found.spread < alone.upper / alone.spread
    assert pooled_spread([[0.5], []]) is None
