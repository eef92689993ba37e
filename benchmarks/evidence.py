"""``python -m benchmarks.evidence``: what the statistics claim, what simulated campaigns find; the table of docs/evidence.md.

Needs no root. The same figures every time; a few minutes.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom, mannwhitneyu, ttest_ind

from benchmarks.simulated import Floats, Order, World, simulate
from whimbrel.analysis.blocks import by_block
from whimbrel.analysis.intervals import median_of, quantile_or_none, success_rate
from whimbrel.analysis.planning import blocks_needed, blocks_to_tell, spread_of
from whimbrel.analysis.resampling import Level, bootstrap, ratio_of_medians
from whimbrel.analysis.sign_flips import interval_of, rejects, sign_flip_p
from whimbrel.analysis.verdicts import Comparison, holm, judge

ALPHA = 0.05


@dataclass(frozen=True)
class Found:
    """In ``hits`` of ``simulations`` campaigns it was so."""

    hits: int
    simulations: int

    @classmethod
    def of(cls, answers: Iterable[bool | np.bool_]) -> Found:
        """Counts the campaigns in which it was so."""
        kept = [bool(answer) for answer in answers]
        return cls(sum(kept), len(kept))

    @property
    def share(self) -> float:
        """Of all campaigns."""
        return self.hits / self.simulations

    def at_most(self, claim: float) -> bool:
        """Whether a true share of ``claim`` or less could have given as many hits: not one time in a thousand fails by chance."""
        return float(binom.sf(self.hits - 1, self.simulations, claim)) > 0.001

    def at_least(self, claim: float) -> bool:
        """Whether a true share of ``claim`` or more could have given as few hits."""
        return float(binom.cdf(self.hits, self.simulations, claim)) > 0.001

    def __str__(self) -> str:
        return f"{self.share:.1%} of {self.simulations:,}"


def medians_held(count: int, simulations: int, seed: int = 1) -> Found:
    """How often the interval of a median of ``count`` lognormal figures holds the true one, 1."""
    rows = np.exp(0.5 * np.random.default_rng(seed).standard_normal((simulations, count)))
    return Found.of((found := median_of(row.tolist()).interval) is not None and found.holds(1.0) for row in rows)


def tails_bounded(quantile: float, count: int, simulations: int, seed: int = 1) -> Found:
    """How often the upper bound of a quantile of ``count`` exponential figures is above the true one."""
    rows = np.random.default_rng(seed).exponential(size=(simulations, count))
    truth = -math.log(1 - quantile)
    return Found.of((tail := quantile_or_none(row.tolist(), quantile)) is not None and tail.upper >= truth for row in rows)


def shares_held(share: float, tried: int) -> float:
    """How often the interval of a success rate holds the true share: counted out, not simulated."""
    held = [(found := success_rate(hits, tried).interval) is not None and found.holds(share) for hits in range(tried + 1)]
    return float(np.dot(held, binom.pmf(np.arange(tried + 1), tried, share)))


def ratios_held(world: World, blocks: int, simulations: int, seed: int = 1) -> Found:
    """How often the interval of the ratio between two arms holds the true one."""
    truth = math.log(world.ratios[1])
    rows = simulate(world, simulations, blocks, seed).log_ratios()
    return Found.of((found := interval_of(row, 1 - ALPHA)) is not None and found[0] <= truth <= found[1] for row in rows)


def called_different(world: World, blocks: int, simulations: int, order: Order = "drawn", seed: int = 1) -> Found:
    """How often the sign-flip test finds a difference between the first two arms."""
    return Found.of(rejects(simulate(world, simulations, blocks, seed, order).log_ratios(), ALPHA))


def called_different_by_others(world: World, trials: int, simulations: int, order: Order, seed: int = 1) -> dict[str, Found]:
    """How often tests that know no blocks find a difference, and how often one run of each is more than 5 % apart."""
    values = simulate(world, simulations, trials, seed, order).values
    single = simulate(world, simulations, 1, seed, order).values[:, 0, :]
    return {
        "Mann-Whitney test": Found.of(mannwhitneyu(values[:, :, 0], values[:, :, 1], axis=1).pvalue <= ALPHA),
        "Student's t test": Found.of(ttest_ind(np.log(values[:, :, 0]), np.log(values[:, :, 1]), axis=1).pvalue <= ALPHA),
        "one run each, more than 5 % apart": Found.of(np.abs(np.log(single[:, 1] / single[:, 0])) > math.log(1.05)),
    }


def called_equivalent(world: World, blocks: int, simulations: int, margin: float = 0.05, seed: int = 1) -> Found:
    """How often two one-sided tests find the first two arms equivalent."""
    rows = simulate(world, simulations, blocks, seed).log_ratios()
    edge = math.log1p(margin)
    return Found.of(rejects(rows, ALPHA, -edge, "greater") & rejects(rows, ALPHA, edge, "less"))


def families_wrong(world: World, blocks: int, simulations: int, seed: int = 1) -> dict[str, Found]:
    """In how many campaigns a verdict is wrong about any of the arms, each compared with the first; and without Holm."""
    drawn = simulate(world, simulations, blocks, seed)
    arms = range(len(world.ratios))
    answers: dict[str, list[bool]] = {"different": [], "different, without Holm": [], "equivalent": []}
    # statsmodels collects garbage whenever it adjusts: what is here by then need not be looked through each time.
    holm([1.0, 1.0])
    gc.freeze()
    for campaign in range(simulations):
        rows = by_block(drawn.trials(campaign), [str(arm) for arm in arms])
        verdicts = judge([Comparison(str(arm), rows[arm], rows[0]) for arm in arms[1:]])
        same = [verdict for verdict in verdicts if world.ratios[int(verdict.name)] == 1]
        far = [verdict for verdict in verdicts if abs(math.log(world.ratios[int(verdict.name)])) >= math.log(1.05)]
        answers["different"].append(any(verdict.different for verdict in same))
        answers["different, without Holm"].append(any((verdict.p_different_alone or 1.0) <= ALPHA for verdict in same))
        answers["equivalent"].append(any(verdict.equivalent for verdict in far))
    gc.unfreeze()
    return {name: Found.of(each) for name, each in answers.items()}


def looked_again(world: World, blocks: int, simulations: int, seed: int = 1) -> Found:
    """How often two like arms are called different by one who adds a block, and judges anew, up to three times as many."""
    rows = simulate(world, simulations, 3 * blocks, seed).log_ratios()
    return Found.of(np.any([rejects(rows[:, :count], ALPHA) for count in range(blocks, 3 * blocks + 1)], axis=0))


def resampled_held(
    world: World, blocks: int, levels: tuple[Level, ...], simulations: int, per_arm: int = 1, resamples: int = 500, seed: int = 1
) -> Found:
    """How often the bootstrap's interval of the ratio of medians holds the truth; ``per_arm`` trials per arm and block."""
    drawn = simulate(world, simulations, blocks, seed)

    def held(campaign: int) -> bool:
        trials = drawn.trials(campaign, per_arm)
        interval = bootstrap(trials, ratio_of_medians("1", "0"), levels, resamples=resamples).interval
        return interval is not None and interval.holds(world.ratios[-1])

    return Found.of(map(held, range(simulations)))


def pilots_planned_enough(
    blocks: int, careful: bool, simulations: int, spread: float = 0.1, difference: float = 0.07, seed: int = 1
) -> Found:
    """How often a plan from a pilot has at least the blocks that the true spread takes; careful: from its upper limit."""
    enough = blocks_to_tell(spread, math.log1p(difference), 0.8, ALPHA).blocks
    assert enough is not None
    answers = []
    for row in spread * np.random.default_rng(seed).standard_normal((simulations, blocks)):
        pilot = spread_of(row)
        assert pilot is not None
        # To two digits: plans are kept for spreads seen before.
        seen = float(f"{pilot.upper if careful else pilot.spread:.2g}")
        planned = blocks_to_tell(seen, math.log1p(difference), 0.8, ALPHA).blocks
        answers.append(planned is None or planned >= enough)
    return Found.of(answers)


def small_blocks_reject(simulations: int, seed: int = 1) -> Found:
    """How often figures in whole milliseconds, full of ties and zeros, are called different though they are not."""
    dice = np.random.default_rng(seed)
    rows: Floats = np.round(dice.normal(3, 1, (2, simulations, 10))).clip(1)
    return Found.of(sign_flip_p(row) <= ALPHA for row in np.log(rows[0] / rows[1]))


STEADY = World(slope=0, walk=0, block=0, state=0)
DRIFTING = World()
# Calm enough to show equivalence with a few blocks.
CALM = World(noise=0.02, walk=0.01, slope=0.005)
OWN = World(own_states=True, walk=0.0, slope=0.0)


def _line(statistic: str, campaign: str, claim: str, found: object) -> None:
    print(f"| {statistic} | {campaign} | {claim} | {found} |", flush=True)


def _intervals() -> None:
    for count in (6, 10, 20):
        _line("median, interval", f"{count} lognormal figures", "at least 95 %", medians_held(count, 4000))
    _line("p95, upper bound", "59 exponential figures", "at least 95 %", tails_bounded(0.95, 59, 4000))
    for tried in (10, 30):
        _line(
            "success rate, interval", f"{tried} trials, true share 0.9", "at least 95 %", f"{shares_held(0.9, tried):.1%} (exact)"
        )


def _ratios() -> None:
    for blocks in (6, 8, 12, 20):
        world = replace(DRIFTING, ratios=(1.0, 1.07))
        _line("ratio, interval", f"{blocks} blocks, ratio 1.07, drift", "at least 95 %", ratios_held(world, blocks, 4000))
    heavy = replace(DRIFTING, ratios=(1.0, 1.07), heavy_tails=True)
    _line("ratio, interval", "12 blocks, noise of Student's t with 3 degrees", "at least 95 %", ratios_held(heavy, 12, 4000))


def _like_arms() -> None:
    for blocks in (6, 8, 12, 20):
        _line("sign-flip test", f"like arms, drift, {blocks} blocks, order drawn", "at most 5 %",
              called_different(DRIFTING, blocks, 20000))  # fmt: skip
    _line("sign-flip test", "like arms, whole milliseconds near 3, 10 blocks", "at most 5 %", small_blocks_reject(4000))
    _line("sign-flip test, *misused*", "like arms, drift, 20 blocks, order always the same", "",
          called_different(DRIFTING, 20, 20000, "fixed"))  # fmt: skip
    _line("sign-flip test, *misused*", "like arms, looked at after each block from 8 to 24", "", looked_again(DRIFTING, 8, 20000))
    for test, found in called_different_by_others(DRIFTING, 10, 4000, "one after the other").items():
        trials = "1 trial" if "one run" in test else "10 trials"
        _line(f"{test}, *no blocks*", f"like arms, drift, {trials} of one, then of the other", "", found)
    for states, blocks in ((3, 12), (12, 12)):
        claim = "at most 5 %" if states == blocks else ""
        _line("sign-flip test", f"like forms, {states} saved states each of their own, {blocks} blocks", claim,
              called_different(replace(OWN, states=states), blocks, 20000))  # fmt: skip


def _verdicts() -> None:
    for ratio in (1.05, 1 / 1.05):
        _line("equivalence within 5 %", f"true ratio {ratio:.3f}, 12 blocks, drift", "at most 5 %",
              called_equivalent(replace(CALM, ratios=(1.0, ratio)), 12, 20000))  # fmt: skip
    like = families_wrong(World(ratios=(1.0,) * 6), 12, 2000)
    _line("verdicts (Holm)", "5 arms like the first: any called different", "at most 5 %", like["different"])
    _line("without Holm", "the same", "", like["different, without Holm"])
    mixed = families_wrong(replace(CALM, ratios=(1.0, 1.0, 1.0, 1.3, 1.051, 1 / 1.051)), 12, 2000)
    _line("verdicts (Holm)", "2 arms like the first, 3 not: a like one called different", "at most 5 %", mixed["different"])
    _line("verdicts (Holm)", "the same: an unlike one called equivalent", "at most 5 %", mixed["equivalent"])


def _plans() -> None:
    for noise in (0.03, 0.05, 0.1):
        spread = math.sqrt(2) * noise
        plan = blocks_needed(spread, 0.07)
        world = replace(STEADY, noise=noise)
        if plan.to_tell.blocks is not None and plan.to_equate.blocks is not None:
            _line("plan, to tell 7 % apart", f"spread {spread:.3f}: {plan.to_tell.blocks} blocks", "about 80 %",
                  called_different(replace(world, ratios=(1.0, 1.07)), plan.to_tell.blocks, 20000))  # fmt: skip
            _line("plan, to show equivalence within 5 %", f"spread {spread:.3f}: {plan.to_equate.blocks} blocks", "about 80 %",
                  called_equivalent(world, plan.to_equate.blocks, 20000))  # fmt: skip
    for blocks in (3, 6):
        for careful in (True, False):
            what, claim = ("the upper limit of a pilot's spread", "at least 80 %") if careful else ("a pilot's spread", "")
            found = pilots_planned_enough(blocks, careful, 2000)
            _line(f"plan from {what}", f"{blocks} blocks: plan is large enough", claim, found)


def _resampling() -> None:
    world = World(ratios=(1.0, 1.07))
    for blocks in (6, 12, 24):
        _line("bootstrap of blocks, ratio of medians", f"{blocks} blocks, drift", "at least 95 %",
              resampled_held(world, blocks, ("block",), 400))  # fmt: skip
    three = replace(DRIFTING, ratios=(1.0,) * 3 + (1.07,) * 3, own_states=True, states=1)
    _line("bootstrap of blocks, *misused*", "12 blocks of 3 trials per arm, 3 states each of their own", "",
          resampled_held(three, 12, ("block",), 400, per_arm=3))  # fmt: skip
    fresh = replace(three, states=12)
    for levels in (("block",), ("block", "state")):
        _line(f"bootstrap of {' and, within, '.join(f'{level}s' for level in levels)}, ratio of medians",
              "12 blocks of 3 trials per arm, each from a state of its own", "at least 95 %",
              resampled_held(fresh, 12, levels, 400, per_arm=3))  # fmt: skip
    own = replace(OWN, ratios=(1.0, 1.07), states=8)
    _line("bootstrap of states, ratio of medians", "8 states each of their own, 24 blocks", "at least 95 %",
          resampled_held(own, 24, ("state",), 400))  # fmt: skip
    _line("bootstrap of blocks, *misused*", "the same", "", resampled_held(own, 24, ("block",), 400))


PARTS: tuple[Callable[[], None], ...] = (_intervals, _ratios, _like_arms, _verdicts, _plans, _resampling)


def main() -> None:
    """The command."""
    print("| statistic | simulated campaigns | claim | found |\n|---|---|---|---|")
    for part in PARTS:
        part()


if __name__ == "__main__":
    main()
