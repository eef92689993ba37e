"""What a watch's page and its table show: figures in words, and a timeline that stays small however long the watch was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from whimbrel.analysis.answers import CheckFigures, Window
from whimbrel.analysis.streams import StreamFigures
from whimbrel.units import format_duration
from whimbrel.watch.findings import Findings

_SHORTEST_S = 1e-4
UNKNOWN = "–"
# So many steps the timeline has.
_STEPS = 600
_PARTS = ("answers", "late answers", "failures", "gap")


@dataclass(frozen=True)
class Column:
    """One figure of the gap table: its heading, what it means, and how it is said; ``wide``: of the page only.

    One ``of_streams`` is there when a check plays a stream.
    """

    heading: str
    meaning: str
    cell: Callable[[CheckFigures], str]
    wide: bool = False
    of_streams: bool = False


def _latency(heading: str, meaning: str, phase: str, share: str, wide: bool = True) -> Column:
    return Column(heading, meaning, lambda found: duration(getattr(found.latency_s[phase], share)), wide)


_COLUMNS = (
    Column("longest gap", "the longest time between two good answers, from the start of the move on", lambda found: _gap(found)),
    Column(
        "known to",
        "what stopped or came back may have done so up to that long before or after",
        lambda found: duration(found.gap_resolution_s),
    ),
    Column("usual gap", "the longest gap before the move", lambda found: duration(found.usual_gap_s)),
    Column(
        "failed", "questions that were not answered well, of all that were sent", lambda found: f"{found.failed} of {found.sent}"
    ),
    Column(
        "how",
        "ways to fail, and how often",
        lambda found: ", ".join(f"{way} {count}" for way, count in found.failures.items()) or UNKNOWN,
    ),
    Column(
        "connections lost",
        "connections that had served and were closed, reset or silent",
        lambda found: str(found.connections_lost),
    ),
    Column(
        "first good answer",
        "from the end of the command to the first good answer",
        lambda found: duration(found.first_good_after_s),
    ),
    Column(
        "stalls",
        "how often, and how long in all, the stream's player would have stood still from the start of the move on",
        lambda found: _stalls(found.stream),
        of_streams=True,
    ),
    Column(
        "MOS",
        "how people would rate that, from 1.5 (bad) to 5 (excellent); it knows stalls only",
        lambda found: _opinion(found.stream),
        of_streams=True,
    ),
    _latency("p50 before", "half of the questions were answered within this, from when they were due", "before", "p50", False),
    _latency("p50 during", "the same, of questions due during the move", "during", "p50"),
    _latency("p99 during", "99 % of them; needs 299 questions", "during", "p99"),
    _latency("longest during", "the longest wait for an answer that came", "during", "max"),
    _latency("p50 after", "the same, of questions due after the move", "after", "p50"),
)


def columns_of(findings: Sequence[Findings], wide: bool = True) -> list[Column]:
    """The columns that these findings fill; without those that only a page has room for, unless it is ``wide``."""
    streams = any(found.stream is not None for each in findings for found in each.figures)
    return [column for column in _COLUMNS if (wide or not column.wide) and (streams or not column.of_streams)]


def lines_of(findings: Findings, columns: Sequence[Column]) -> list[list[str]]:
    """The gap table: a line per check, its name first, then a cell per column. An asterisk says that there are flags."""
    checks = findings.watched.plan.checks
    return [
        [check.name + ("*" if flags else ""), *(column.cell(found) for column in columns)]
        for check, found, flags in zip(checks, findings.figures, findings.flags, strict=True)
    ]


def _stalls(stream: StreamFigures | None) -> str:
    if stream is None:
        return UNKNOWN
    if stream.startup_s is None:
        return "never played"
    if not stream.stalls:
        return "none"
    length = duration(stream.stalled_s) if not stream.stalled_at_end else f"at least {duration(stream.stalled_at_least_s)}"
    return f"{stream.stalls}, {length}"


def _opinion(stream: StreamFigures | None) -> str:
    return UNKNOWN if stream is None or stream.stalling_mos is None else f"{stream.stalling_mos:.2f}"


def _gap(found: CheckFigures) -> str:
    if found.longest_gap_s is None:
        return UNKNOWN if found.longest_gap_at_least_s is None else f"at least {duration(found.longest_gap_at_least_s)}"
    return duration(found.longest_gap_s) + ("" if found.stands_out else " (as usual)")


def duration(figure_s: float | None) -> str:
    """A duration as the tables say it."""
    if figure_s is None:
        return UNKNOWN
    if figure_s < _SHORTEST_S:
        return f"< {format_duration(_SHORTEST_S)}"
    # More digits would be of chance.
    return f"{figure_s * 1e3:.3g} ms" if figure_s < 1 else format_duration(figure_s)


def whole_window(findings: Sequence[Findings]) -> Window:
    """The window from the first question of all moves to the last."""
    first, last = findings[0].watched.window, findings[-1].watched.window
    return Window(first.began_ns, first.from_ns, last.to_ns, last.ended_ns)


def timeline_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """For each check the time in steps, each with the worst that happened in it, its gaps that stand out, and its stalls."""
    window = whole_window(findings)
    questions = pl.concat([each.watched.questions for each in findings])
    by_check = questions.partition_by("check", as_dict=True)
    rows: list[dict[str, Any]] = []
    for position, check in enumerate(findings[0].watched.plan.checks):
        label = f"{position + 1} {check.name}"
        found = _steps(by_check.get((position,), questions.clear()), window)
        for each in findings:
            found += _notable(each.figures[position], window)
        rows += [{"check": label, **row} for row in found]
    return rows


def phase_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """The phases of each move, and its rounds, by libvirt's and QEMU's words: those that were seen from begin to end."""
    began_ns = whole_window(findings).began_ns
    rows: list[dict[str, Any]] = []
    for engines in (each.engines for each in findings if each.engines is not None):
        parts = [(phase.name, phase.from_ns, phase.to_ns) for phase in engines.phases]
        parts += [("rounds", each.from_ns, each.to_ns) for each in engines.rounds]
        rows += [
            {"check": name, "from_s": (from_ns - began_ns) / 1e9, "to_s": (to_ns - began_ns) / 1e9, "part": "phase", "count": 1}
            for name, from_ns, to_ns in parts
            if from_ns is not None and to_ns is not None
        ]
    return rows


def engine_words(findings: Findings) -> str:
    """What libvirt and QEMU said of a move, in a line; empty where they were not listened to."""
    engines = findings.engines
    if engines is None:
        return ""
    if engines.destination is None:
        return f"libvirt: the guest was on {engines.source or 'no host'} before, and was not seen on another afterwards"
    known = [(each.name, each.length_s) for each in engines.phases]
    words = [
        f"from {engines.source or 'nowhere'} to {engines.destination}",
        f"blackout {_ms(engines.blackout_ms)}",
        f"libvirt's downtime {_ms(engines.libvirt_downtime_ms)}",
        f"{len(engines.rounds)} rounds",
        *(f"{name} {duration(length_s)}" for name, length_s in known if name != "stop-and-copy"),
    ]
    return f"libvirt: {', '.join(words)}"


HOST_COLUMNS = ["host", "CPU before", "CPU during", "CPU after", "memory before", "memory during", "sent", "received"]


def host_lines(findings: Findings) -> list[list[str]]:
    """A line per host that was sampled by SSH: processors in use, the most memory, and what went over its links in the move."""
    turn = findings.watched.turn
    return [
        [f"{turn.words}: {host.name}" if findings.watched.plan.several else host.name]
        + [f"{cores:.2f} cores" if cores is not None else UNKNOWN for cores in host.cpu_cores.values()]
        + [_mib(host.memory_bytes[phase]) for phase in ("before", "during")]
        + [_mib(host.sent_bytes), _mib(host.received_bytes)]
        for host in findings.hosts
    ]


def _mib(size_bytes: int | None) -> str:
    return f"{size_bytes / 2**20:.4g} MiB" if size_bytes is not None else UNKNOWN


def _ms(figure_ms: float | None) -> str:
    return duration(figure_ms / 1e3 if figure_ms is not None else None)


def _notable(found: CheckFigures, window: Window) -> list[dict[str, Any]]:
    stalls = found.stream.moments if found.stream is not None else ()
    parts = [("gap", gap.from_ns / 1e9, gap.to_ns / 1e9) for gap in found.disturbances]
    parts += [("stall", stall.from_s, stall.to_s) for stall in stalls]
    began_s = window.began_ns / 1e9
    return [
        {"from_s": round(from_s - began_s, 4), "to_s": round(to_s - began_s, 4), "part": part, "count": 1}
        for part, from_s, to_s in parts
    ]


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
