"""What a watch's page and its table show: figures in words, and a timeline that stays small however long the watch was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from whimbrel.analysis.answers import CheckFigures, Window
from whimbrel.units import format_duration
from whimbrel.watch.findings import Findings

_SHORTEST_S = 1e-4
UNKNOWN = "–"
COLUMNS = {
    "check": "its name; its URL where it has no other",
    "longest gap": "the longest time between two good answers, from the start of the move on",
    "known to": "what stopped or came back may have done so up to that long before or after",
    "usual gap": "the longest gap before the move",
    "failed": "questions that were not answered well, of all that were sent",
    "how": "ways to fail, and how often",
    "connections lost": "connections that had served and were closed, reset or silent",
    "first good answer": "from the end of the command to the first good answer",
    "p50 before": "half of the questions were answered within this, counted from when they were due",
    "p50 during": "the same, of questions due during the move",
    "p99 during": "99 % of them; needs 299 questions",
    "longest during": "the longest wait for an answer that came",
    "p50 after": "the same, of questions due after the move",
}
# So many steps the timeline has.
_STEPS = 600
_PARTS = ("answers", "late answers", "failures", "gap")


def lines_of(findings: Findings) -> list[list[str]]:
    """The gap table: a line per check, a cell per column."""
    checks = findings.watched.plan.checks
    return [
        [check.name + ("*" if flags else ""), *_cells(found)]
        for check, found, flags in zip(checks, findings.figures, findings.flags, strict=True)
    ]


def _cells(found: CheckFigures) -> list[str]:
    latency = found.latency_s
    return [
        _gap(found),
        _duration(found.gap_resolution_s),
        _duration(found.usual_gap_s),
        f"{found.failed} of {found.sent}",
        ", ".join(f"{way} {count}" for way, count in found.failures.items()) or UNKNOWN,
        str(found.connections_lost),
        _duration(found.first_good_after_s),
        _duration(latency["before"].p50),
        _duration(latency["during"].p50),
        _duration(latency["during"].p99),
        _duration(latency["during"].max),
        _duration(latency["after"].p50),
    ]


def _gap(found: CheckFigures) -> str:
    if found.longest_gap_s is None:
        return UNKNOWN if found.longest_gap_at_least_s is None else f"at least {_duration(found.longest_gap_at_least_s)}"
    return _duration(found.longest_gap_s) + ("" if found.stands_out else " (as usual)")


def _duration(figure_s: float | None) -> str:
    if figure_s is None:
        return UNKNOWN
    if figure_s < _SHORTEST_S:
        return f"< {format_duration(_SHORTEST_S)}"
    # More digits would be of chance.
    return f"{figure_s * 1e3:.3g} ms" if figure_s < 1 else format_duration(figure_s)


def timeline_rows(findings: Findings) -> list[dict[str, Any]]:
    """For each check the time in steps, each with the worst that happened in it, and its gaps that stand out."""
    window = findings.watched.window
    by_check = findings.watched.questions.partition_by("check", as_dict=True)
    rows: list[dict[str, Any]] = []
    for position, (check, found) in enumerate(zip(findings.watched.plan.checks, findings.figures, strict=True)):
        frame = by_check.get((position,), findings.watched.questions.clear())
        label = f"{position + 1} {check.name}"
        rows += [{"check": label, **row} for row in _steps(frame, window)]
        rows += [
            {"check": label, "from_s": _s(gap.from_ns, window), "to_s": _s(gap.to_ns, window), "part": "gap", "count": 1}
            for gap in found.disturbances
        ]
    return rows


def _steps(frame: pl.DataFrame, window: Window) -> list[dict[str, Any]]:
    """Neighbouring steps in which the same happened are one row."""
    length_ns = max(1, (window.ended_ns - window.began_ns) // _STEPS)
    codes = np.zeros(_STEPS + 1, dtype=np.int64)
    counts = np.zeros(_STEPS + 1, dtype=np.int64)
    known = frame.filter(pl.col("ended_ns").is_not_null() & (pl.col("outcome") != "not-sent"))
    steps = ((known.get_column("ended_ns").to_numpy() - window.began_ns) // length_ns).clip(0, _STEPS)
    good = known.get_column("outcome").is_in(["good", "heard"]).to_numpy()
    late = (known.get_column("ended_ns") - known.get_column("due_ns")).to_numpy() > _late_ns(known)
    np.maximum.at(codes, steps, np.where(good, np.where(late, 2, 1), 3))
    np.add.at(counts, steps, 1)
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    return [
        {
            "from_s": round(float(first * length_ns) / 1e9, 4), "to_s": round(float(last * length_ns) / 1e9, 4),
            "part": _PARTS[codes[first] - 1], "count": int(counts[first:last].sum()),
        }
        for first, last in pairwise(edges)
        if codes[first]
    ]  # fmt: skip


def _late_ns(known: pl.DataFrame) -> float:
    """An answer is late that took ten times as long as most, and 10 ms at least."""
    taken = (known.get_column("ended_ns") - known.get_column("due_ns")).median()
    return max(10e6, 10 * float(taken)) if isinstance(taken, (int, float)) else 10e6


def _s(moment_ns: int, window: Window) -> float:
    return round((moment_ns - window.began_ns) / 1e9, 4)
