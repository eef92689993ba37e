"""Limits on what a watch finds: ``longest_gap_s < 0.5`` for every check, ``shop: failed <= 3`` for one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whimbrel.analysis.answers import PHASES, CheckFigures
from whimbrel.analysis.thresholds import Tick
from whimbrel.checks.check import Check
from whimbrel.errors import UsageError
from whimbrel.spec.evidence import Limit, parse_bound

_LIMIT = re.compile(r"(?:(?P<name>.*\S)\s*:\s+)?(?P<figure>[A-Za-z0-9_.]+)\s*(?P<bound>[<>].*)")
_FIGURES: dict[str, Callable[[CheckFigures], float | None]] = {
    "longest_gap_s": lambda found: found.longest_gap_s,
    "failed": lambda found: found.failed,
    "failed_share": lambda found: found.failed / found.sent if found.sent else None,
    "connections_lost": lambda found: found.connections_lost,
    "first_good_after_s": lambda found: found.first_good_after_s,
    **{
        f"stream.{name}": lambda found, name=name: getattr(found.stream, name, None)  # type: ignore[misc]
        for name in ("stalls", "stalled_s", "stalling_mos", "startup_s", "missing_segments", "missed_s")
    },
    **{
        f"latency_s.{phase}.{name}": lambda found, phase=phase, name=name: getattr(found.latency_s[phase], name)  # type: ignore[misc]
        for phase in PHASES
        for name in ("p50", "p95", "p99", "max")
    },
    **{
        f"answers_per_s.{phase}": lambda found, phase=phase: found.answers_per_s[phase]  # type: ignore[misc]
        for phase in PHASES
    },
}


@dataclass(frozen=True)
class CheckLimit:
    """A limit for the check of this name; None: for every check."""

    name: str | None
    limit: Limit


def parse_limit(text: str, checks: Sequence[Check]) -> CheckLimit:
    """A limit as it is written; UsageError when it is none, or is for a check or a figure that there is not."""
    match = _LIMIT.fullmatch(text.strip())
    bound = parse_bound(match["bound"]) if match is not None else None
    if match is None or bound is None:
        raise UsageError(
            f"--limit {text!r} is no limit",
            resolution="write FIGURE, a sign and a number, such as 'longest_gap_s < 0.5', or 'CHECK: failed <= 3'",
        )
    name, figure = match["name"], match["figure"]
    if figure not in _FIGURES:
        near = difflib.get_close_matches(figure, _FIGURES, n=1)
        raise UsageError(
            f"--limit {text!r}: {figure} is no figure of a check",
            resolution=f"did you mean {near[0]}?" if near else f"those there are: {', '.join(_FIGURES)}",
        )
    if name is not None and name not in {check.name for check in checks}:
        raise UsageError(f"--limit {text!r}: there is no check {name!r}")
    return CheckLimit(name, Limit(figure, "", *bound))


def ticks_of(limits: Sequence[CheckLimit], checks: Sequence[Check], figures: Sequence[CheckFigures]) -> list[Tick]:
    """Every limit, check by check. What is not known is not kept."""
    return [
        _tick(check, limit.limit, found)
        for limit in limits
        for check, found in zip(checks, figures, strict=True)
        if limit.name == check.name or (limit.name is None and _has(limit.limit, found))
    ]


def _has(limit: Limit, found: CheckFigures) -> bool:
    """Whether a check can have the figure at all: stalls are of those that play a stream."""
    return not limit.figure.startswith("stream.") or found.stream is not None


def _tick(check: Check, limit: Limit, found: CheckFigures) -> Tick:
    value = _FIGURES[limit.figure](found)
    if value is not None:
        return Tick(check.name, limit, float(value), limit.keeps(value), None)
    reason = "it is not known"
    if limit.figure == "longest_gap_s" and found.longest_gap_at_least_s is not None:
        reason = f"it is at least {found.longest_gap_at_least_s:.6g}"
    return Tick(check.name, limit, None, False, reason)
