"""Which way a guest of the user's own is moved: by a goal, or by one way after the other; and what is predicted of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.cli.goals import PROFILED_FOR, parse_goal
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.predict_guest import tell
from whimbrel.cli.profile import profiling_own
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.terminal import complain
from whimbrel.errors import MoveError, UsageError
from whimbrel.own.climbing import climb, in_words
from whimbrel.own.moving import Asked, OwnMoved, move_own
from whimbrel.own.predicting import Foreseen, foresee, with_options
from whimbrel.own.standing import Side
from whimbrel.predict.goals import Goal
from whimbrel.predict.ladder import RUNGS, RungName
from whimbrel.predict.move import why_not
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.units import parse_rate

Link = Annotated[
    str | None,
    typer.Option(metavar="RATE", help="With --from: what the link gives, as '10 Gbit/s'; default: hosts.yaml's, or 1 Gbit/s."),
]
Ladder = Annotated[
    str | None,
    typer.Option(metavar="WAYS", help=f"With --from: try these ways, one after the other, such as {','.join(RUNGS)}."),
]
DeadlineOption = Annotated[
    str | None, typer.Option("--deadline", metavar="DURATION", help="With --ladder: all of it is over by then.")
]
_LEAST_S = 0.001


@dataclass(frozen=True)
class Way:
    """How the way is found: by a goal or by a ladder, from a prediction; neither: as it was asked for."""

    goal: Goal | None
    ladder: tuple[RungName, ...]
    deadline_s: float | None
    most_gap_s: float | None
    learn: tuple[Path, ...]
    dry_run: bool

    @property
    def foretells(self) -> bool:
        """Whether the guest is profiled for it."""
        return self.goal is not None or bool(self.ladder)


def way_of(
    goal: str | None, ladder: str | None, deadline: str | None, max_gap: str | None, learn: Sequence[Path], dry_run: bool
) -> Way:
    """From options; UsageError for those that do not go together."""
    if goal is not None and ladder is not None:
        raise UsageError("--goal chooses one way, and --ladder tries several: give one of them")
    if goal is None and ladder is None and (max_gap is not None or learn or dry_run):
        raise UsageError("--max-gap, --learn and --dry-run go with --goal or --ladder")
    if deadline is not None and ladder is None:
        raise UsageError("--deadline goes with --ladder; of a goal it is '--goal \"finish-within 30s\"'")
    return Way(
        goal=parse_goal(goal, max_gap) if goal is not None else None,
        ladder=_rungs(ladder) if ladder is not None else (),
        deadline_s=duration_s("--deadline", deadline, _LEAST_S) if deadline is not None else None,
        most_gap_s=duration_s("--max-gap", max_gap, _LEAST_S) if max_gap is not None else None,
        learn=tuple(learn),
        dry_run=dry_run,
    )


def _rungs(text: str) -> tuple[RungName, ...]:
    found: list[RungName] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        known = next((name for name in RUNGS if name == word), None)
        if known is None:
            why = ": shut it down, and start it on the other host ('virsh')" if word == "cold" else ""
            raise UsageError(
                f"--ladder: {word!r} is no way to move a guest of your own{why}", resolution=f"they are {', '.join(RUNGS)}"
            )
        if known in found:
            raise UsageError(f"--ladder: {word} is named twice")
        found.append(known)
    if not found:
        raise UsageError("--ladder names no way", resolution=f"such as --ladder {','.join(RUNGS)}")
    return tuple(found)


def with_link(side: Side, rate: str | None) -> Side:
    """The side, with what its link gives where that is said; UsageError when it is no rate."""
    if rate is None:
        return side
    try:
        return side.model_copy(update={"link_rate_bytes_per_s": parse_rate(rate)})
    except ValueError as error:
        raise UsageError(f"--link: {error}") from error


def move_by(asked: Asked, way: Way) -> OwnMoved | None:
    """Moves it that way; None when it was only to be said what would be done. MoveError when nothing keeps within the limits."""
    if not way.foretells:
        return _guarded(lambda: move_own(asked))
    foreseen = foresee_with_bar(asked.name, asked.source, asked.destination, asked.spec, way.learn, PROFILED_FOR)
    if way.goal is not None:
        return _by_goal(asked, foreseen, way.goal, way.dry_run)
    plan = foreseen.climb(way.ladder, asked.spec, way.deadline_s, way.most_gap_s)
    for line in in_words(plan):
        if way.dry_run:
            print(line)
        else:
            complain(line)
    return None if way.dry_run else _guarded(lambda: climb(asked, plan, way.deadline_s))


def _by_goal(asked: Asked, foreseen: Foreseen, goal: Goal, dry_run: bool) -> OwnMoved | None:
    choice = foreseen.choose(goal)
    if choice.candidate is None:
        raise MoveError(f"{asked.name} was not moved: nothing meets the goal", details=choice.why)
    if dry_run:
        print(choice.why)
        return None
    complain(choice.why)
    chosen = replace(asked, spec=with_options(asked.spec, choice.candidate.options))
    return _guarded(lambda: move_own(chosen))


def _guarded(move: Callable[[], OwnMoved]) -> OwnMoved:
    with Interrupts(None, "aborting the move"):
        return move()


def foresee_with_bar(
    name: str, source: Side, destination: Side, migration: MigrationSpec, learn: Sequence[Path], seconds: str
) -> Foreseen:
    """Profiles it, and shows how far that has come."""
    if source.link_rate_bytes_per_s is None and destination.link_rate_bytes_per_s is None:
        complain("the link is taken to give 1 Gbit/s; --link, or 'link_rate' in hosts.yaml, says otherwise")
    with profiling_own(name, seconds) as (longest_s, told):
        return foresee(name, source, destination, migration, learn, longest_s, told)


def predict_own(
    name: str, source: Side, destination: Side, sets: list[str], learn: Sequence[Path], seconds: str, as_json: bool
) -> None:
    """Profiles it where it runs, and says what a move would take."""
    migration = migration_with(MigrationSpec(), None, sets)
    reason = why_not(migration)
    if reason is not None:
        raise UsageError(reason)
    foreseen = foresee_with_bar(name, source, destination, migration, learn, seconds)
    found = foreseen.expect(migration)
    assert found is not None
    # Nobody knows whether it has viewers.
    tell(name, destination.name, replace(found, stalls={}), foreseen.overheads, migration, as_json)
