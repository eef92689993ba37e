"""Limits on what a watch finds: ``longest_gap_s < 0.5`` for every check, ``shop: failed <= 3`` for one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.analysis.answers import CheckFigures
from whimbrel.analysis.thresholds import Tick
from whimbrel.checks.check import Check
from whimbrel.errors import UsageError
from whimbrel.spec.evidence import Limit, parse_bound
from whimbrel.watch.figures import FIGURES, at_least, can_have

_LIMIT = re.compile(r"(?:(?P<name>.*\S)\s*:\s+)?(?P<figure>[A-Za-z0-9_.]+)\s*(?P<bound>[<>].*)")


@dataclass(frozen=True)
class CheckLimit:
    """A limit for the check of this name; None: for every check."""

    name: str | None
    limit: Limit


def parse_limit(text: str, checks: Sequence[Check]) -> CheckLimit:
    """A limit as it is written; UsageError when it is not one, or names no check or figure that there is."""
    match = _LIMIT.fullmatch(text.strip())
    bound = parse_bound(match["bound"]) if match is not None else None
    if match is None or bound is None:
        raise UsageError(
            f"--limit {text!r} is no limit",
            resolution="write FIGURE, a sign and a number, such as 'longest_gap_s < 0.5', or 'CHECK: failed <= 3'",
        )
    name, figure = match["name"], match["figure"]
    if figure not in FIGURES:
        near = difflib.get_close_matches(figure, FIGURES, n=1)
        raise UsageError(
            f"--limit {text!r}: {figure} is no figure of a check",
            resolution=f"did you mean {near[0]}?" if near else f"those there are: {', '.join(FIGURES)}",
        )
    if name is not None and name not in {check.name for check in checks}:
        raise UsageError(f"--limit {text!r}: there is no check {name!r}")
    return CheckLimit(name, Limit(figure, "", *bound))


def ticks_of(limits: Sequence[CheckLimit], checks: Sequence[Check], moves: Sequence[Sequence[CheckFigures]]) -> list[Tick]:
    """Every limit, check by check: of several moves the worst is held to it. What is not known is not kept."""
    found = []
    for limit in limits:
        for position, check in enumerate(checks):
            of_check = [figures[position] for figures in moves]
            can = all(can_have(limit.limit.figure, figures) for figures in of_check)
            if limit.name == check.name or (limit.name is None and can):
                found.append(_worst([_tick(check, limit.limit, figures) for figures in of_check]))
    return found


def _worst(ticks: Sequence[Tick]) -> Tick:
    crossed = [tick for tick in ticks if not tick.kept]
    unknown = [tick for tick in crossed if tick.value is None]
    highest = ticks[0].limit.sign.startswith("<")
    return (unknown or sorted(crossed or ticks, key=lambda tick: tick.value or 0.0, reverse=highest))[0]


def _tick(check: Check, limit: Limit, found: CheckFigures) -> Tick:
    value = FIGURES[limit.figure](found)
    if value is not None:
        return Tick(check.name, limit, float(value), limit.keeps(value), None)
    bound = at_least(limit.figure, found)
    return Tick(check.name, limit, None, False, "it is not known" if bound is None else f"it is at least {bound:.6g}")
