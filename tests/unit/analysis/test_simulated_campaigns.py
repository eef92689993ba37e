"""Campaigns whose truth is known: statistics claim no more than they hold. More of them in docs/evidence.md."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.evidence import (
    ALPHA,
    CALM,
    DRIFTING,
    OWN,
    STEADY,
    called_different,
    called_different_by_others,
    called_equivalent,
    families_wrong,
    medians_held,
    pilots_planned_enough,
    ratios_held,
    resampled_held,
    shares_held,
    small_blocks_reject,
    tails_bounded,
)
from benchmarks.simulated import World, simulate

from whimbrel.analysis.planning import blocks_needed

# Differ by 7 % on a machine that drifts.
SLOWER = replace(DRIFTING, ratios=(1.0, 1.07))


def test_campaigns_come_out_the_same_every_time() -> None:
    assert (simulate(DRIFTING, 3, 4, seed=7).values == simulate(DRIFTING, 3, 4, seed=7).values).all()
    assert simulate(World(state=0, noise=0, block=0, slope=0, walk=0, ratios=(1, 2)), 2, 3, seed=1).values[1, 2].tolist() == [
        1,
        2,
    ]


@pytest.mark.parametrize("count", [6, 11])
def test_intervals_of_medians_hold_them(count: int) -> None:
    assert medians_held(count, 150).at_least(0.95)


def test_tails_are_bounded() -> None:
    assert tails_bounded(0.95, 59, 150).at_least(0.95)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_intervals_of_success_rates_hold_them(share: float) -> None:
    assert shares_held(share, 12) >= 0.95


@pytest.mark.parametrize("blocks", [6, 12])
@pytest.mark.parametrize("heavy_tails", [False, True])
def test_intervals_of_ratios_hold_them_on_a_drifting_machine(blocks: int, heavy_tails: bool) -> None:
    assert ratios_held(replace(SLOWER, heavy_tails=heavy_tails), blocks, 250).at_least(0.95)


@pytest.mark.parametrize("blocks", [6, 8, 12, 20])
def test_like_arms_on_a_drifting_machine_are_rarely_called_different(blocks: int) -> None:
    assert called_different(DRIFTING, blocks, 4000).at_most(ALPHA)


def test_ties_and_zeros_do_not_make_it_eager() -> None:
    assert small_blocks_reject(300).at_most(ALPHA)


def test_one_arm_after_the_other_calls_drift_a_difference() -> None:
    for found in called_different_by_others(DRIFTING, 10, 500, "one after the other").values():
        assert not found.at_most(0.2)


def test_an_order_that_is_always_the_same_calls_drift_a_difference() -> None:
    assert not called_different(DRIFTING, 20, 4000, "fixed").at_most(ALPHA)


def test_a_few_saved_states_of_their_own_pass_for_a_difference() -> None:
    assert not called_different(OWN, 12, 1000).at_most(0.1)
    assert called_different(replace(OWN, states=12), 12, 4000).at_most(ALPHA)


@pytest.mark.parametrize("ratio", [1.05, 1 / 1.05])
def test_arms_at_the_margin_are_rarely_called_equivalent(ratio: float) -> None:
    found = called_equivalent(replace(CALM, ratios=(1.0, ratio)), 12, 4000)
    assert found.at_most(ALPHA)
    assert found.share > 0.02


def test_holm_keeps_a_familys_error_and_tests_alone_do_not() -> None:
    found = families_wrong(World(ratios=(1.0,) * 6), 10, 100)
    assert found["different"].at_most(ALPHA)
    assert not found["different, without Holm"].at_most(ALPHA)


def test_like_and_unlike_arms_in_one_family() -> None:
    found = families_wrong(replace(CALM, ratios=(1.0, 1.0, 1.3, 1.051)), 10, 80)
    assert found["different"].at_most(ALPHA)
    assert found["equivalent"].at_most(ALPHA)


def test_plans_reach_their_power() -> None:
    plan = blocks_needed(STEADY.noise * 2**0.5, 0.07)
    assert plan.to_tell.blocks is not None
    assert plan.to_equate.blocks is not None
    # The plan's own power is simulated too, to half a percent.
    assert called_different(replace(STEADY, ratios=(1.0, 1.07)), plan.to_tell.blocks, 4000).at_least(0.79)
    assert called_equivalent(STEADY, plan.to_equate.blocks, 4000).at_least(0.79)
    assert not called_different(replace(STEADY, ratios=(1.0, 1.07)), plan.to_tell.blocks - 2, 4000).at_least(0.79)


def test_a_pilot_of_three_blocks_is_treated_with_care() -> None:
    assert pilots_planned_enough(3, True, 60, spread=0.05).at_least(0.8)
    assert not pilots_planned_enough(3, False, 60, spread=0.05).at_least(0.8)


@pytest.mark.parametrize("blocks", [6, 12])
def test_bootstrap_intervals_hold_the_ratio(blocks: int) -> None:
    assert resampled_held(SLOWER, blocks, ("block",), 30, resamples=150).at_least(0.95)
