"""Campaigns whose truth is known: lognormal figures on a machine that drifts, with blocks and saved states that have moods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from whimbrel.analysis.blocks import TrialFigure

Floats = npt.NDArray[np.float64]
# In blocks, the order drawn anew for each; in blocks, always the same order; or all trials of an arm, then all of the next.
Order = Literal["drawn", "fixed", "one after the other"]


@dataclass(frozen=True)
class World:
    """What is true. All on the log scale, so 0.05 is about 5 %: noise of a trial, mood of a block, drift from trial to trial.

    ``ratios`` are those of the arms to the first. ``own_states`` gives every arm saved states of its own, as two forms have.
    """

    ratios: tuple[float, ...] = (1.0, 1.0)
    noise: float = 0.05
    block: float = 0.05
    slope: float = 0.01
    walk: float = 0.02
    state: float = 0.05
    states: int = 3
    own_states: bool = False
    heavy_tails: bool = False


@dataclass(frozen=True)
class Campaigns:
    """Figures, shape (campaigns, blocks, arms), and the saved state that each trial of a block began from, (blocks, arms)."""

    values: Floats
    states: npt.NDArray[np.int64]

    def log_ratios(self, ours: int = 1, theirs: int = 0) -> Floats:
        """Log ratios within blocks, shape (campaigns, blocks)."""
        found: Floats = np.log(self.values[:, :, ours] / self.values[:, :, theirs])
        return found

    def trials(self, campaign: int, per_arm: int = 1) -> list[TrialFigure]:
        """One campaign as trials; arms are called by their numbers. ``per_arm`` neighbours are taken for trials of one arm."""
        _, blocks, arms = self.values.shape
        return [
            TrialFigure(str(arm // per_arm), block, str(self.states[block, arm]), float(self.values[campaign, block, arm]))
            for block in range(blocks)
            for arm in range(arms)
        ]


def simulate(world: World, campaigns: int, blocks: int, seed: int, order: Order = "drawn") -> Campaigns:
    """Campaigns of one trial per arm and block. The same seed gives the same figures."""
    dice = np.random.default_rng(seed)
    arms = len(world.ratios)
    shape = (campaigns, blocks, arms)
    noise = dice.standard_t(3, shape) / np.sqrt(3) if world.heavy_tails else dice.standard_normal(shape)
    # Turns are taken among states, one per block; with states of their own, arms never share one.
    states = np.repeat(np.arange(blocks)[:, None] % world.states, arms, axis=1)
    states = states + world.states * np.arange(arms) if world.own_states else states
    of_states = world.state * dice.standard_normal((campaigns, world.states * arms))
    logs = np.log(world.ratios) + world.noise * noise + of_states[:, states]
    logs += world.block * dice.standard_normal((campaigns, blocks, 1))
    drift = world.slope * np.arange(blocks * arms) + np.cumsum(
        world.walk * dice.standard_normal((campaigns, blocks * arms)), axis=1
    )
    logs += np.take_along_axis(drift, _slots(dice, shape, order).reshape(campaigns, -1), axis=1).reshape(shape)
    return Campaigns(np.exp(logs), states)


def _slots(dice: np.random.Generator, shape: tuple[int, int, int], order: Order) -> npt.NDArray[np.int64]:
    """Which trial of the campaign, counted from 0, each one is."""
    _, blocks, arms = shape
    if order == "one after the other":
        return np.broadcast_to(np.arange(blocks)[:, None] + blocks * np.arange(arms), shape)
    places = np.broadcast_to(np.arange(arms), shape)
    if order == "drawn":
        places = dice.permuted(places, axis=2)
    return np.asarray(places + arms * np.arange(blocks)[:, None])
