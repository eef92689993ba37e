"""The journal of a move on disk: how far it has come, so that ``recover`` knows when whoever drove it has died.

One line of JSON per step, written and flushed before the step is taken. The first line says what was to be done, the last
one, ``move ended``, how it ended; a journal without it is one of a move that is under way, or was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from whimbrel.durable import append_line, read_lines, replace_text
from whimbrel.errors import UsageError
from whimbrel.migrate.technique import Journal
from whimbrel.spec.fields import RECORD
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import clock_id
from whimbrel.system.process import ProcessId

ENDED = "move ended"
_LEFT = "move left"
POST_COPY = "post-copy"
BOOTED_ANEW = "booted anew"


class DamagedJournalError(UsageError):
    """A journal that cannot be read: how far its move has come is not known."""


class Intent(BaseModel):
    """What was to be done: the first line. ``pid`` and ``start_ticks`` are of whoever drives it, in the boot ``clock_id``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    source: str
    destination: str
    spec: MigrationSpec
    pid: int
    start_ticks: int
    clock_id: str

    @property
    def alive(self) -> bool:
        """Whether the process that began the move still lives."""
        return self.clock_id == clock_id() and ProcessId(self.pid, self.start_ticks).alive


class _Step(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    data: dict[str, Any]


class History:
    """What a journal says."""

    def __init__(self, intent: Intent, steps: list[dict[str, Any]]) -> None:
        self.intent = intent
        self._steps = steps

    def has(self, name: str) -> bool:
        """Whether the move came to this step, or was about to take it."""
        return any(step["name"] == name for step in self._steps)

    @property
    def ended(self) -> str | None:
        """How it ended (``moved``, ``failed``, ...); None when it is under way or was interrupted."""
        return next((str(step["data"].get("result", "unsafe")) for step in self._steps if step["name"] == ENDED), None)

    @property
    def driven(self) -> bool:
        """Whether somebody still drives it: it has not ended, nor was it left as it is by one that could do no more."""
        return self.ended is None and not self.has(_LEFT) and self.intent.alive

    @property
    def last(self) -> str:
        """The last step that was written down."""
        return self._steps[-1]["name"] if self._steps else "begun"


class WrittenJournal:
    """Writes each step to a file as well as into another journal. Implements ``migrate.technique.Journal``."""

    def __init__(self, file: Path, beside: Journal) -> None:
        self._file = file
        self._beside = beside

    def begin(self, source: str, destination: str, spec: MigrationSpec) -> None:
        """Begins the file anew: the move before it has ended."""
        me = ProcessId.of(os.getpid())
        assert me is not None
        intent = Intent(source=source, destination=destination, spec=spec, pid=me.pid, start_ticks=me.start_ticks,
                        clock_id=clock_id())  # fmt: skip
        replace_text(self._file, intent.model_dump_json() + "\n")

    def mark(self, name: str, **data: Any) -> int:
        """Writes down one step; returns its time on the monotonic clock, in ns."""
        # The clock first: what is written down takes its time, and must not be part of what is measured.
        t_ns = self._beside.mark(name, **data)
        _append(self._file, name, data)
        return t_ns

    def note(self, name: str, **data: Any) -> int:
        """Writes down what has happened, where there is room; how the move ended is written after it, and complains."""
        t_ns = self._beside.note(name, **data)
        with contextlib.suppress(OSError):
            _append(self._file, name, data)
        return t_ns

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        """Writes down what the carrier on a host says. It was done already, so nothing waits for the disk."""
        self._beside.quote(host, name, realtime_ns)


def note_end(file: Path, result: str) -> None:
    """Writes down how a move ended."""
    _append(file, ENDED, {"result": result})


def note_left(file: Path) -> None:
    """Writes down that nobody drives the move any more, though it is not known to have ended well or badly."""
    _append(file, _LEFT, {})


def note_booted_anew(file: Path) -> None:
    """Writes down that a recovery is about to start it anew, also after the end of a move: it may have died since."""
    _append(file, BOOTED_ANEW, {})


def read_history(file: Path) -> History | None:
    """What the journal says; None when there is none. A line that was cut off is a step that was not taken.

    DamagedJournalError when it says what nobody can read: a step may be in it that was taken, so nothing may be concluded.
    """
    if not file.exists():
        return None
    lines = read_lines(file)
    if lines.damaged:
        raise _damaged(file, f"line {lines.damaged[0]} cannot be read")
    contents = [content for _, content in lines.whole]
    try:
        intent = Intent.model_validate(contents[0] if contents else None, context=RECORD)
        steps = [_Step.model_validate(content).model_dump() for content in contents[1:]]
    except ValidationError as error:
        raise _damaged(file, "it is empty" if not contents else f"{error.errors()[0]['msg']}") from error
    return History(intent, steps)


def _damaged(file: Path, why: str) -> DamagedJournalError:
    return DamagedJournalError(
        f"{file}: is no journal of a move, or damaged: {why}",
        resolution=f"'whimbrel recover {file.parent.name}' puts it aside once it is certain that one copy runs",
    )


def _append(file: Path, name: str, data: dict[str, Any]) -> None:
    append_line(file, json.dumps({"name": name, "data": data}))
