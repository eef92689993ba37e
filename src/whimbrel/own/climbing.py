"""A guest of the user's own is moved by one way after the other, as was planned and said beforehand, until one has moved it."""

from __future__ import annotations

import time
from dataclasses import replace

from whimbrel.errors import MoveError
from whimbrel.own.moving import Asked, OwnMoved, move_own
from whimbrel.own.predicting import with_options
from whimbrel.predict.ladder import Plan, Step
from whimbrel.units import format_duration

_LEAST_S = 1.0


def in_words(plan: Plan) -> list[str]:
    """What will be tried when, and what will not."""
    said = []
    for number, step in enumerate(plan.steps, 1):
        begins = "at once" if number == 1 else f"after {format_duration(step.from_at_most_s)} at the latest"
        said.append(f"{number}. {step.rung.name}, {begins}, for at most {format_duration(step.for_at_most_s)}: {_expected(step)}")
    return [*said, *(f"not tried: {name}: {why}" for name, why in plan.left_out.items())]


def _expected(step: Step) -> str:
    found = step.rung.expected
    if found is None or found.total_s is None:
        return "what it takes is not predicted"
    gap = f", service gap at most {format_duration(found.service_gap_s.most)}" if found.service_gap_s is not None else ""
    return f"expected to take {format_duration(found.total_s.middle)}, at most {format_duration(found.total_s.most)}{gap}"


def climb(asked: Asked, plan: Plan, deadline_s: float | None) -> OwnMoved:
    """The move that went well, or the last one that did not; MoveError when nothing was to be tried.

    It ends early when somebody has asked for that, when the guest does not run where it ran, or when the deadline is over.
    """
    if not plan.steps:
        raise MoveError(f"{asked.name} was not moved: no way keeps within the limits", details="\n".join(in_words(plan)))
    until_s = time.monotonic() + deadline_s if deadline_s is not None else None
    moved: OwnMoved | None = None
    for number, step in enumerate(plan.steps, 1):
        left_s = until_s - time.monotonic() if until_s is not None else step.for_at_most_s
        if moved is not None and left_s < _LEAST_S:
            asked.bus.note(f"the deadline is over: {step.rung.name} is not tried")
            break
        for_s = max(_LEAST_S, min(step.for_at_most_s, left_s))
        asked.bus.step(f"trying {step.rung.name} for at most {format_duration(for_s)}")
        moved = move_own(_as_step(asked, step, number, for_s))
        if not _goes_on(moved, asked):
            break
    assert moved is not None
    return moved


def _as_step(asked: Asked, step: Step, number: int, for_s: float) -> Asked:
    """Each attempt has a record of its own."""
    spec = with_options(asked.spec, {**step.rung.options, "timeout": f"{for_s:.1f} s"})
    out = asked.out / f"{number}-{step.rung.name}" if asked.out is not None else None
    return replace(asked, spec=spec, out=out)


def _goes_on(moved: OwnMoved, asked: Asked) -> bool:
    if moved.ending.result == "moved" or moved.move.abort_file.exists():
        return False
    return moved.ending.runs_on == [asked.source.name]
