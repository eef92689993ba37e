"""What a watch is to do, and what it has seen."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from whimbrel.analysis.answers import Window
from whimbrel.analysis.engines import Seen
from whimbrel.checks.check import Check
from whimbrel.records.series import HOSTS_SCHEMA
from whimbrel.trace_parent import TraceParent


@dataclass(frozen=True)
class Turn:
    """One move of a watch: which way, the how-manieth that way (from 1), and whether it counts or only warms up."""

    way: Literal["there", "back"] = "there"
    number: int = 1
    counts: bool = True

    @property
    def words(self) -> str:
        """What it is called, on the page and in names of files."""
        return f"{self.way}-{self.number}"


@dataclass(frozen=True)
class WatchPlan:
    """What to watch, and for how long.

    ``before_s`` and ``after_s`` are None where the steady state is to be found; ``for_s`` is how long it goes on without a
    command, None: until it is interrupted. The command is run ``repeat`` times after ``warm_up`` times that do not count, each
    time followed by ``back`` where there is one. ``libvirt`` are URIs of hosts by name, to be listened to about
    ``guest``; ``hosts`` are sampled by SSH; what happens to ``containers`` of this machine is marked.
    What the command prints is kept in ``keep_output_in``; what of it would go to a
    terminal goes to ``show_output`` instead, where there is one.
    ``new_span`` makes the span that a command is within; None: nobody wants spans.
    """

    checks: tuple[Check, ...]
    command: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    repeat: int = 1
    warm_up: int = 0
    before_s: float | None = None
    after_s: float | None = None
    for_s: float | None = None
    anyway: bool = False
    marks_from_stdin: bool = False
    output_to_stderr: bool = False
    keep_output_in: Path | None = None
    show_output: Callable[[bytes], None] | None = None
    libvirt: Mapping[str, str] = field(default_factory=dict)
    guest: str = ""
    hosts: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    new_span: Callable[[], TraceParent] | None = None

    @property
    def turns(self) -> list[Turn]:
        """Every move that is to be made, in their order."""
        ways: tuple[Literal["there", "back"], ...] = ("there", "back") if self.back else ("there",)
        numbers = range(1, self.warm_up + self.repeat + 1)
        return [Turn(way, number, number > self.warm_up) for number in numbers for way in ways]

    @property
    def several(self) -> bool:
        """Whether there is more than one move."""
        return len(self.turns) > 1

    def command_of(self, turn: Turn) -> tuple[str, ...]:
        """What makes a move."""
        return self.command if turn.way == "there" else self.back


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
    """Everything that was seen of one move: a row per question (``series.CHECKS_SCHEMA``), and what is to be said about that.

    ``since_ns`` is when the first question of all moves was asked; ``engines`` is what libvirt and QEMU said meanwhile, where
    they were listened to, and ``hosts`` what was sampled by SSH (``series.HOSTS_SCHEMA``).

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
    turn: Turn = Turn()
    since_ns: int = 0
    engines: Seen | None = None
    hosts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HOSTS_SCHEMA))
