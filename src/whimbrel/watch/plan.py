"""What a watch is to do, and what it has seen."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from whimbrel.analysis.answers import Window
from whimbrel.checks.check import Check


@dataclass(frozen=True)
class WatchPlan:
    """What to watch, and for how long.

    ``before_s`` and ``after_s`` are None where the steady state is to be found; ``for_s`` is how long it goes on without a
    command, None: until it is interrupted.
    """

    checks: tuple[Check, ...]
    command: tuple[str, ...] = ()
    before_s: float | None = None
    after_s: float | None = None
    for_s: float | None = None
    anyway: bool = False
    marks_from_stdin: bool = False
    output_to_stderr: bool = False
    keep_output_in: Path | None = None


@dataclass(frozen=True)
class Ran:
    """A command that was run to its end; the exit code is as shells say it: 128 and the signal's number where one killed it."""

    exit_code: int
    started_ns: int
    ended_ns: int


@dataclass(frozen=True)
class Mark:
    """A moment that somebody has marked."""

    t_ns: int
    text: str


@dataclass(frozen=True)
class Watched:
    """Everything that was seen: a row per question (``series.CHECKS_SCHEMA``), and what is to be said about how it was seen.

    ``words`` has, for each check, the last words of each way to fail; ``holes`` are when our own loop stood still. ``films``
    are what streams brought, by the check's position: ``series.PACKETS_SCHEMA`` of RTMP, ``series.SEGMENTS_SCHEMA`` of HLS.
    """

    plan: WatchPlan
    began_at: datetime.datetime
    window: Window
    questions: pl.DataFrame
    ran: Ran | None
    marks: list[Mark]
    holes: list[tuple[int, int]]
    words: list[dict[str, str]]
    films: dict[int, pl.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
