"""Figures of a trial whose service is known by its checks, from its record and what became of every question. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from whimbrel.analysis.answers import CheckFigures, Window, figures_of
from whimbrel.analysis.blocks import one_figure
from whimbrel.analysis.viewers import Derived
from whimbrel.records.trial import TrialRecord


class CheckFigure(Derived):
    """What one check of a trial found; latencies are of questions that were due during the move. What is not known is None."""

    name: str
    kind: str
    sent: int
    failed: int
    failures: dict[str, int]
    longest_gap_ms: float | None
    longest_gap_at_least_ms: float | None
    gap_resolution_ms: float | None
    usual_gap_ms: float | None
    connections_lost: int
    first_good_after_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None


def watched_figures(record: TrialRecord, checks: pl.DataFrame | None) -> dict[str, Any]:
    """The figures of each check (``checks`` is ``series.CHECKS_SCHEMA``), and the service gap of the trial: its worst check's.

    Unknown of one check is unknown of all; it is at least what any of them has seen.
    """
    found = check_figures(record, checks)
    gaps_s = [each.longest_gap_s for each in found]
    seen_s = [known for each in found for known in (each.longest_gap_s, each.longest_gap_at_least_s) if known is not None]
    gap_s = one_figure(gaps_s)
    usual_s = max((each.usual_gap_s for each in found if each.usual_gap_s is not None), default=None)
    return {
        "service_gap_ms": _ms(gap_s),
        "service_gap_at_least_ms": _ms(max(seen_s)) if seen_s and gap_s is None else None,
        "service_gap_usual_ms": _ms(usual_s),
        "checks": [_check_figure(asked, each) for asked, each in zip(_asked(record), found, strict=False)],
    }


def _check_figure(asked: Mapping[str, Any], found: CheckFigures) -> CheckFigure:
    latency = found.latency_s["during"]
    return CheckFigure(
        name=str(asked["name"]),
        kind=str(asked["kind"]),
        sent=found.sent,
        failed=found.failed,
        failures=found.failures,
        longest_gap_ms=_ms(found.longest_gap_s),
        longest_gap_at_least_ms=_ms(found.longest_gap_at_least_s),
        gap_resolution_ms=_ms(found.gap_resolution_s),
        usual_gap_ms=_ms(found.usual_gap_s),
        connections_lost=found.connections_lost,
        first_good_after_ms=_ms(found.first_good_after_s),
        latency_p50_ms=_ms(latency.p50),
        latency_p95_ms=_ms(latency.p95),
        latency_p99_ms=_ms(latency.p99),
        latency_max_ms=_ms(latency.max),
    )


def check_figures(record: TrialRecord, checks: pl.DataFrame | None) -> list[CheckFigures]:
    """The figures of each check, in the file's order; none where nothing was moved or recorded."""
    window, asked = _window(record), _asked(record)
    if window is None or checks is None:
        return []
    holes = [hole for cost in record.instruments if cost.name == "checks" for hole in cost.holes]
    return [figures_of(checks.filter(pl.col("check") == at), window, each["period_s"], holes) for at, each in enumerate(asked)]


def named_figures(record: TrialRecord, checks: pl.DataFrame | None) -> dict[str, CheckFigures]:
    """The same by the checks' names."""
    return dict(zip((str(asked["name"]) for asked in _asked(record)), check_figures(record, checks), strict=False))


def _asked(record: TrialRecord) -> list[dict[str, Any]]:
    return [event.data for event in record.events if event.name == "check"]


def _window(record: TrialRecord) -> Window | None:
    ends = [_seen_ns(record, name) for name in ("watch begun", "watch ended")]
    if record.move is None or ends[0] is None or ends[1] is None:
        return None
    return Window(ends[0], record.move.called_ns, record.move.returned_ns, ends[1])


def _seen_ns(record: TrialRecord, name: str) -> int | None:
    return next((event.seen_ns for event in record.events if event.name == name), None)


def _ms(figure_s: float | None) -> float | None:
    return figure_s * 1e3 if figure_s is not None else None
