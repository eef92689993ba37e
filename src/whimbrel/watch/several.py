"""Several moves of one watch, taken together as a campaign takes its trials: medians, and how sure they are.

A move counts that was made to its end with exit code 0, and was not for warming up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whimbrel.analysis.summary import Spread
from whimbrel.watch.figures import FIGURES, at_least, can_have
from whimbrel.watch.findings import Findings, as_json

ENGINE_FIGURES = ("blackout_ms", "libvirt_downtime_ms", "transferred_bytes", "source_cpu_s", "destination_cpu_s")
_WAYS: tuple[Literal["there", "back"], ...] = ("there", "back")


@dataclass(frozen=True)
class WaySummary:
    """All moves of one way that count: how long their commands took, and the spread of each figure, check by check.

    ``engines`` are those of ``ENGINE_FIGURES``; none where libvirt was not listened to.
    """

    way: Literal["there", "back"]
    moves: int
    took_s: Spread
    checks: list[dict[str, Spread]]
    engines: dict[str, Spread]


def counting(findings: Sequence[Findings]) -> list[Findings]:
    """The moves that were made to their end, and not for warming up."""
    return [
        each for each in findings if each.watched.turn.counts and each.watched.ran is not None and not each.watched.ran.exit_code
    ]


def summaries(findings: Sequence[Findings]) -> list[WaySummary]:
    """One per way that has a move that counts."""
    of_way = {way: [each for each in counting(findings) if each.watched.turn.way == way] for way in _WAYS}
    return [_summary(way, each) for way, each in of_way.items() if each]


def _summary(way: Literal["there", "back"], findings: list[Findings]) -> WaySummary:
    ran = [each.watched.ran for each in findings]
    return WaySummary(
        way,
        len(findings),
        Spread.of([(each.ended_ns - each.started_ns) / 1e9 for each in ran if each is not None]),
        [_spreads(findings, position) for position in range(len(findings[0].figures))],
        _engine_spreads(findings),
    )


def _engine_spreads(findings: list[Findings]) -> dict[str, Spread]:
    found = [each.engines for each in findings if each.engines is not None]
    return {name: Spread.of([getattr(each, name) for each in found]) for name in ENGINE_FIGURES} if found else {}


def _spreads(findings: list[Findings], position: int) -> dict[str, Spread]:
    found = [each.figures[position] for each in findings]
    return {
        name: Spread.of([read(each) for each in found], bounds=[at_least(name, each) for each in found])
        for name, read in FIGURES.items()
        if any(can_have(name, each) for each in found)
    }


def several_json(findings: Sequence[Findings]) -> dict[str, object]:
    """The object that ``--json`` prints of several moves: each as it would be alone, and all taken together."""
    first, last = findings[0].watched, findings[-1].watched
    return {
        "command": {
            "exit_code": last.ran.exit_code if last.ran is not None else None,
            "started_s": _since(first.ran.started_ns if first.ran is not None else None, first.since_ns),
            "ended_s": _since(last.ran.ended_ns if last.ran is not None else None, first.since_ns),
        },
        "moves": [_move_json(each) for each in findings],
        "all": [_way_json(each, findings[0]) for each in summaries(findings)],
    }


def _since(moment_ns: int | None, since_ns: int) -> float | None:
    return (moment_ns - since_ns) / 1e9 if moment_ns is not None else None


def _move_json(findings: Findings) -> dict[str, object]:
    turn, watched = findings.watched.turn, findings.watched
    began_s = _since(watched.window.began_ns, watched.since_ns)
    return {"way": turn.way, "number": turn.number, "counts": turn.counts, "began_s": began_s, **as_json(findings)}


def _way_json(summary: WaySummary, findings: Findings) -> dict[str, object]:
    checks = findings.watched.plan.checks
    return {
        "way": summary.way,
        "moves": summary.moves,
        "took_s": _spread_json(summary.took_s),
        "engines": {name: _spread_json(spread) for name, spread in summary.engines.items()} or None,
        "checks": [
            {"name": check.name, **{name: _spread_json(spread) for name, spread in spreads.items()}}
            for check, spreads in zip(checks, summary.checks, strict=True)
        ],
    }


def _spread_json(spread: Spread) -> dict[str, object]:
    interval = spread.interval
    return {
        "known": spread.known,
        "median": spread.median,
        "interval": [interval.low, interval.high] if interval is not None else None,
        "least": spread.least,
        "greatest": spread.greatest,
        "unended": spread.unended,
        "at_least": spread.at_least,
    }
