from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from whimbrel.analysis.blocks import TrialFigure
from whimbrel.analysis.resampling import bootstrap, median_in, ratio_of_medians
from whimbrel.errors import UsageError


def trials(blocks: int, states: int = 3, per_block: int = 1, seed: int = 1) -> list[TrialFigure]:
    dice = np.random.default_rng(seed)
    return [
        TrialFigure(arm, block, f"{arm}{(block + number) % states}", float(ratio * np.exp(0.1 * dice.normal())))
        for block in range(blocks)
        for arm, ratio in (("a", 1.0), ("b", 1.3))
        for number in range(per_block)
    ]


def test_the_same_seed_gives_the_same_interval_whatever_the_order() -> None:
    given = trials(8, per_block=2)
    first = bootstrap(given, ratio_of_medians("b", "a"), ("block", "state"), resamples=100)
    assert bootstrap(given[::-1], ratio_of_medians("b", "a"), ("block", "state"), resamples=100) == first
    assert bootstrap(given, ratio_of_medians("b", "a"), ("block", "state"), resamples=100, seed=2) != first
    assert first.interval is not None
    assert first.interval.holds(1.3)


def test_single_trials_in_blocks_are_the_ordinary_bootstrap() -> None:
    own = [trial for trial in trials(40) if trial.arm == "a"]
    found = bootstrap(own, lambda figures: float(np.mean(figures["a"])), resamples=4000)
    values = [trial.value for trial in own]
    # The percentiles are set further out (Hesterberg): for 40 blocks at 95 % to where an interval of 95.9 % has them.
    out = 1 - 2 * stats.norm.cdf(stats.t.ppf(0.025, 39) * np.sqrt(40 / 39))
    expected = stats.bootstrap((values,), np.mean, confidence_level=out, n_resamples=4000, method="percentile", rng=1)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(expected.confidence_interval.low, abs=0.005)
    assert found.interval.high == pytest.approx(expected.confidence_interval.high, abs=0.005)


def test_trials_of_a_block_stay_together() -> None:
    # Blocks differ wildly, the arms within a block do not: drawing whole blocks, their ratio never changes.
    pairs = [TrialFigure(arm, block, "s", 2.0**block * (3 if arm == "b" else 1)) for block in range(9) for arm in "ab"]
    found = bootstrap(pairs, ratio_of_medians("b", "a"), resamples=200)
    assert found.interval is not None
    assert (found.interval.low, found.estimate, found.interval.high) == (3, 3, 3)


def test_copies_of_a_trial_make_nothing_surer() -> None:
    once = trials(10)
    many = [replace(trial, state=f"{trial.state}{copy}") for trial in once for copy in range(5)]
    assert bootstrap(many, median_in("a"), resamples=200).interval == bootstrap(once, median_in("a"), resamples=200).interval


def test_no_arm_is_ever_without_trials() -> None:
    # One block has only one of the arms, and states are not shared.
    lopsided = trials(7, per_block=2)[:-2]
    sizes: set[tuple[int, int]] = set()

    def count(figures: object) -> float:
        assert isinstance(figures, dict)
        sizes.add((len(figures["a"]), len(figures["b"])))
        return 0.0

    bootstrap(lopsided, count, ("block", "state"), resamples=100)
    assert sizes == {(14, 12)}


def test_few_clusters_bear_no_interval() -> None:
    few = bootstrap(trials(12, states=3), median_in("a"), ("state",))
    assert (few.interval, few.clusters) == (None, 3)
    assert few.estimate == pytest.approx(1.0, rel=0.1)
    assert bootstrap(trials(5), median_in("a")).interval is None
    assert bootstrap(trials(12, states=6), median_in("a"), ("state",), resamples=50).interval is not None


def test_without_trials_or_levels_nothing_is_drawn() -> None:
    for given, levels in (([], ("block",)), (trials(6), ())):
        with pytest.raises(UsageError, match="needs trials"):
            bootstrap(given, median_in("a"), levels)  # type: ignore[arg-type]
