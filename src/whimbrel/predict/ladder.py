"""Ways to move a guest one after the other, each tried when the one before has failed: planned before the first begins. Pure.

What was predicted to miss the limits is left out. Each way may take so long that the last one, which is the surest, still has
its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from whimbrel.predict.expectation import Expectation
from whimbrel.units import format_duration

RungName: TypeAlias = Literal["pre-copy", "zstd", "longer-pause", "post-copy", "paused"]
RUNGS: tuple[RungName, ...] = get_args(RungName)
# A way that goes on for longer than so many times what was expected at most will not end.
_PATIENCE = 1.5
# What nobody can predict has so long where no deadline says otherwise.
_UNKNOWN_S = 300.0
# What a longer pause is, of the longest gap that is allowed; and where none is said.
_SHARE_OF_GAP, _LONG_PAUSE_S = 0.8, 2.0
_USUAL_PAUSE_S = 0.3


@dataclass(frozen=True)
class Rung:
    """A way to move; ``options`` are as ``migrate --set`` has them, ``expected`` None where it is not predicted."""

    name: RungName
    options: Mapping[str, object]
    expected: Expectation | None = None


@dataclass(frozen=True)
class Step:
    """A rung that is to be tried, from when on at the latest, and for how long at most, in seconds."""

    rung: Rung
    from_at_most_s: float
    for_at_most_s: float


@dataclass(frozen=True)
class Plan:
    """What is to be tried, in this order; ``left_out`` says of each other rung why not."""

    steps: tuple[Step, ...]
    left_out: dict[RungName, str] = field(default_factory=dict)


def options_of(name: RungName, most_gap_s: float | None) -> dict[str, object]:
    """What a rung gives its technique."""
    pause_s = min(_USUAL_PAUSE_S, most_gap_s * _SHARE_OF_GAP) if most_gap_s is not None else _USUAL_PAUSE_S
    longer_s = most_gap_s * _SHARE_OF_GAP if most_gap_s is not None else _LONG_PAUSE_S
    found: dict[RungName, dict[str, object]] = {
        "pre-copy": {"technique": "pre-copy", "max_downtime": _ms(pause_s)},
        "zstd": {"technique": "pre-copy", "max_downtime": _ms(pause_s), "compression": "zstd", "connections": 2},
        "longer-pause": {"technique": "pre-copy", "max_downtime": _ms(longer_s)},
        "post-copy": {"technique": "post-copy"},
        "paused": {"technique": "paused"},
    }
    return found[name]


def _ms(seconds: float) -> str:
    return f"{max(1.0, seconds * 1e3):.0f} ms"


def plan_ladder(rungs: Sequence[Rung], deadline_s: float | None, most_gap_s: float | None) -> Plan:
    """What is tried, and when. The prediction's upper bounds decide; what is not predicted is tried in the time that is left."""
    left_out: dict[RungName, str] = {}
    fitting: list[Rung] = []
    for rung in rungs:
        why = _why_not(rung, deadline_s, most_gap_s)
        if why is None:
            fitting.append(rung)
        else:
            left_out[rung.name] = why
    steps: list[Step] = []
    at_s = 0.0
    for position, rung in enumerate(fitting):
        for_s = _time_for(rung, fitting[position + 1 :], None if deadline_s is None else deadline_s - at_s)
        if for_s <= 0:
            left_out[rung.name] = "there is no time for it before the last one, which must be in time"
            continue
        steps.append(Step(rung, at_s, for_s))
        at_s += for_s
    return Plan(tuple(steps), left_out)


def _why_not(rung: Rung, deadline_s: float | None, most_gap_s: float | None) -> str | None:
    expected = rung.expected
    if expected is None:
        return None
    if expected.converges is False or expected.total_s is None:
        return "it is not expected to end"
    if deadline_s is not None and expected.total_s.most > deadline_s:
        return f"it may take {format_duration(expected.total_s.most)}, which is past the deadline"
    gap_s = expected.service_gap_s
    if most_gap_s is not None and gap_s is not None and gap_s.most > most_gap_s:
        return f"its service gap may last {format_duration(gap_s.most)}"
    return None


def _time_for(rung: Rung, others: Sequence[Rung], left_s: float | None) -> float:
    """How long it may take, where ``left_s`` are left of all and one of the others is to be tried after it."""
    wanted_s = _UNKNOWN_S
    if rung.expected is not None and rung.expected.total_s is not None:
        wanted_s = rung.expected.total_s.most * _PATIENCE
    if left_s is None:
        return wanted_s
    if not others:
        return left_s
    last = others[-1].expected
    kept_s = last.total_s.most if last is not None and last.total_s is not None else left_s / (len(others) + 1)
    return min(wanted_s, left_s - kept_s)
