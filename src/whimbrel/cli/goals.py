"""``migrate --goal``: from what is wished to a way to move, and afterwards how it turned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from whimbrel.analysis.figures import TrialFigures
from whimbrel.cli.profile import bar_for
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.terminal import complain
from whimbrel.deployment.deployed import Deployment
from whimbrel.deployment.profiling import profile
from whimbrel.errors import MoveError, UsageError
from whimbrel.hosts.site import Site
from whimbrel.observe.dirty_profile import USUAL_SAMPLE
from whimbrel.predict.candidates import candidates_for
from whimbrel.predict.goals import Candidate, Choice, Goal, GoalName, choose
from whimbrel.predict.range import Range
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.trial.foresight import overheads_from
from whimbrel.units import format_duration

PROFILED_FOR = "20 s"
# Nothing takes no time.
_LEAST_S = 0.001


def parse_goal(text: str, most_gap: str | None) -> Goal:
    """``shortest-gap``, ``finish-within 30s``, ``least-bytes`` or ``least-load``; UsageError for anything else."""
    word, _, rest = text.strip().partition(" ")
    name: GoalName | None = next((name for name in get_args(GoalName) if name == word), None)
    if name is None:
        raise UsageError(f"--goal {text!r} is not known", resolution=f"it is one of {', '.join(get_args(GoalName))}")
    if (name == "finish-within") != bool(rest):
        raise UsageError(f"--goal {text!r}: only finish-within has a duration, as in 'finish-within 30s'")
    within_s = duration_s("--goal", rest, _LEAST_S) if rest else None
    return Goal(name, within_s, duration_s("--max-gap", most_gap, _LEAST_S) if most_gap else None)


@dataclass
class WishedMigration:
    """The way to move a deployed service that is asked for: that which was given, or one that meets a goal.

    ``choice`` is why a goal's was chosen, once it was. ``set_clock`` sets the guest's clock after the move besides.
    """

    deployment: Deployment
    to: HostName
    given: MigrationSpec
    goal: Goal | None
    learn: Sequence[Path]
    only_said: bool
    set_clock: bool
    choice: Choice | None = None

    def __call__(self, site: Site) -> MigrationSpec | None:
        """The way, now that its site is held; None where it is only to be said. MoveError when nothing meets the goal."""
        found: MigrationSpec | None = self.given if self.goal is None else self._chosen(site, self.goal)
        if found is None:
            return None
        if self.set_clock:
            found = migration_with(found, None, ["after=set-clock"])
        if found.bandwidth_note:
            complain(f"bandwidth: {found.bandwidth_note}")
        return found

    def _chosen(self, site: Site, goal: Goal) -> MigrationSpec | None:
        choice = self.choice = pick(self.deployment, site, self.to, goal, self.learn)
        if choice.candidate is None:
            raise MoveError(f"{self.deployment.name} was not moved: nothing meets the goal", details=choice.why)
        if self.only_said:
            print(choice.why)
            return None
        complain(choice.why)
        return migration_of(self.deployment, choice.candidate)


def pick(deployment: Deployment, site: Site, to: HostName, goal: Goal, learn: Sequence[Path]) -> Choice:
    """Profiles the service, and chooses."""
    with bar_for(deployment.name, PROFILED_FOR, by_qemu=deployment.spec.hosts is not None) as (longest_s, told):
        profiled = profile(deployment, site, to, longest_s, USUAL_SAMPLE, told)
    return choose(candidates_for(profiled.profile, profiled.link_bytes_per_s, deployment.spec, overheads_from(learn)), goal)


def migration_of(deployment: Deployment, candidate: Candidate) -> MigrationSpec:
    """The candidate as a way to move."""
    return migration_with(deployment.spec.migration, None, [f"{key}={value}" for key, value in candidate.options.items()])


def how_it_turned_out(candidate: Candidate, figures: TrialFigures) -> list[str]:
    """What was expected beside what was measured; a figure that was not measured is left out."""
    expected = candidate.expected
    pairs: list[tuple[str, Range | None, float | None, float | None]] = [
        ("total", expected.total_s, figures.total_s, None),
        ("blackout", expected.blackout_s, _s(figures.blackout_ms), None),
        (
            "reachability gap",
            expected.reachability_gap_s,
            _s(figures.reachability_gap_ms),
            _s(figures.reachability_gap_at_least_ms),
        ),
    ]
    return [
        f"{what}: {'' if was_s is not None else 'at least '}{format_duration(seen_s)}, expected {format_duration(wished.middle)}"
        f" ({format_duration(wished.least)} to {format_duration(wished.most)})"
        for what, wished, was_s, at_least_s in pairs
        if wished is not None and (seen_s := was_s if was_s is not None else at_least_s) is not None
    ]


def _s(figure_ms: float | None) -> float | None:
    return figure_ms / 1e3 if figure_ms is not None else None
