"""What a reader is shown of several moves together: medians, with their intervals or the least and the greatest of a few."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whimbrel.analysis.summary import Spread
from whimbrel.watch.findings import Findings
from whimbrel.watch.rows import UNKNOWN, duration
from whimbrel.watch.several import summaries

_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "longest gap": ("longest_gap_s", duration),
    "failed": ("failed", lambda value: f"{value:g}"),
    "connections lost": ("connections_lost", lambda value: f"{value:g}"),
    "first good answer": ("first_good_after_s", duration),
    "p50 during": ("latency_s.during.p50", duration),
    "longest during": ("latency_s.during.max", duration),
}
_OF_STREAMS: dict[str, tuple[str, Callable[[float], str]]] = {
    "stalled": ("stream.stalled_s", duration),
    "MOS": ("stream.stalling_mos", lambda value: f"{value:.2f}"),
}


def several_columns(findings: Sequence[Findings]) -> list[str]:
    """The headings; those of streams where a check plays one."""
    return ["moves", "check", "command took", *_shown(findings)]


def several_lines(findings: Sequence[Findings]) -> list[list[str]]:
    """A line per way and check."""
    checks, shown = findings[0].watched.plan.checks, _shown(findings)
    return [
        [f"{summary.moves} {summary.way}", check.name, _words(summary.took_s, duration)]
        + [_words(spreads.get(name), write) for name, write in shown.values()]
        for summary in summaries(findings)
        for check, spreads in zip(checks, summary.checks, strict=True)
    ]


def _shown(findings: Sequence[Findings]) -> dict[str, tuple[str, Callable[[float], str]]]:
    streams = any(found.stream is not None for each in findings for found in each.figures)
    return {**_FIGURES, **(_OF_STREAMS if streams else {})}


def _words(spread: Spread | None, write: Callable[[float], str]) -> str:
    """``median [interval]``; ``median (least to greatest)`` of too few; with how many had not ended, where some had not."""
    if spread is None or (spread.median is None and not spread.unended):
        return UNKNOWN
    unended = f"{spread.unended} not ended, at least {write(spread.at_least)}" if spread.at_least is not None else ""
    if spread.median is None or spread.least is None or spread.greatest is None:
        return unended
    found = write(spread.median)
    if spread.interval is not None:
        found += f" [{write(spread.interval.low)} to {write(spread.interval.high)}]"
    elif spread.least != spread.greatest:
        found += f" ({write(spread.least)} to {write(spread.greatest)})"
    return f"{found}; {unended}" if unended else found
