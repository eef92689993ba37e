"""From what is wished to a way to move: which candidate is expected to meet the goal best, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from whimbrel.predict.expectation import Expectation
from whimbrel.units import format_bytes, format_duration, format_rate

GoalName = Literal["shortest-gap", "finish-within", "least-bytes", "least-load"]


@dataclass(frozen=True)
class Goal:
    """What is wished; ``within_s`` belongs to ``finish-within``, and ``most_gap_s`` limits the service gap of any goal."""

    name: GoalName
    within_s: float | None = None
    most_gap_s: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A way to move: what it is called, what it gives its technique as options, and what is expected of it.

    ``load`` is the share of the link that it takes while it sends.
    """

    name: str
    options: dict[str, object]
    expected: Expectation
    load: float


@dataclass(frozen=True)
class Choice:
    """The candidate that is to be taken, or None when nothing meets the goal; two sentences why."""

    candidate: Candidate | None
    why: str


def choose(candidates: Sequence[Candidate], goal: Goal) -> Choice:
    """The best of those that are sure to end and whose upper bounds keep within the limits.

    Upper bounds decide, not middles: a goal is met when it is met at the far end of the interval, too.
    """
    ending = [candidate for candidate in candidates if candidate.expected.converges and candidate.expected.total_s is not None]
    if not ending:
        return Choice(None, _what_would_end(candidates))
    fitting = [candidate for candidate in ending if _fits(candidate, goal)]
    if not fitting:
        return Choice(None, _what_could(ending, goal))
    best = min(fitting, key=_measure(goal))
    others = [candidate.name for candidate in ending if candidate is not best]
    left = f" Looked at, too: {', '.join(others)}." if others else ""
    return Choice(best, f"{best.name} is expected to {_said(best, goal)}.{left}")


def _fits(candidate: Candidate, goal: Goal) -> bool:
    return (goal.within_s is None or _total_s(candidate) <= goal.within_s) and (
        goal.most_gap_s is None or _gap_s(candidate) <= goal.most_gap_s
    )


def _measure(goal: Goal) -> Callable[[Candidate], tuple[float, float]]:
    """What is to be least; of equals the one with the shorter gap."""
    measures: dict[GoalName, Callable[[Candidate], float]] = {
        "shortest-gap": _gap_s,
        "finish-within": _gap_s,
        "least-bytes": _sent_bytes,
        "least-load": lambda candidate: candidate.load,
    }
    first = measures[goal.name]
    return lambda candidate: (first(candidate), _gap_s(candidate))


def _said(best: Candidate, goal: Goal) -> str:
    gap, total = format_duration(_gap_s(best)), format_duration(_total_s(best))
    if goal.name == "finish-within":
        return f"be over within {total}, and of all that are has the shortest service gap, at most {gap}"
    if goal.name == "least-bytes":
        return f"send least, at most {format_bytes(_sent_bytes(best))}, with a service gap of at most {gap}"
    if goal.name == "least-load":
        return f"load the link least, {best.load:.0%} of it for at most {total}, with a service gap of at most {gap}"
    return f"have the shortest service gap, at most {gap}, and to be over within {total}"


def _what_would_end(candidates: Sequence[Candidate]) -> str:
    every = [candidate.expected.bandwidth_needed_bytes_per_s for candidate in candidates]
    known = [needed for needed in every if needed is not None]
    link = f"a link above {format_rate(min(known))}" if known else "a faster link"
    return (
        "Nothing that was tried is sure to end: memory changes too fast for this link."
        f" It would take {link}, or a guest that dirties a smaller working set."
    )


def _what_could(ending: Sequence[Candidate], goal: Goal) -> str:
    """What the nearest to the goal would be: by time when that is the limit that is missed, else by gap."""
    quick, dark = min(ending, key=_total_s), min(ending, key=_gap_s)
    parts = []
    if goal.within_s is not None and _total_s(quick) > goal.within_s:
        parts.append(f"the quickest, {quick.name}, may take {format_duration(_total_s(quick))}")
    if goal.most_gap_s is not None and _gap_s(dark) > goal.most_gap_s:
        parts.append(f"the shortest service gap, of {dark.name}, may last {format_duration(_gap_s(dark))}")
    if not parts:
        parts.append(f"{quick.name} is quick enough and {dark.name} short enough, but none is both")
    return f"Nothing meets the goal: {'; '.join(parts)}. A faster link or a smaller working set would."


def _total_s(candidate: Candidate) -> float:
    assert candidate.expected.total_s is not None
    return candidate.expected.total_s.most


def _gap_s(candidate: Candidate) -> float:
    assert candidate.expected.service_gap_s is not None
    return candidate.expected.service_gap_s.most


def _sent_bytes(candidate: Candidate) -> float:
    assert candidate.expected.sent_bytes is not None
    return candidate.expected.sent_bytes.most
