"""Moves a container from one carrier to another.

- checkpoint: freeze, dump, send, restore;
- pre-copy: rounds of pre-dump while it runs, then a small last dump;
- post-copy: it goes on there with the pages it asks for, the rest follows;
- restart: stopped here, started there; only what it wrote into files is kept.

Pages and images go from carrier to carrier, and so does the answer that decides which side may run: nothing of ours stands in
between while the container stands still. We give orders before the freeze, and look at both journals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal

from whimbrel.engines.criu import DumpStats, dump_stats, restore_stats
from whimbrel.errors import MoveError, WhimbrelError
from whimbrel.guests.carrier import CONTAINER_MAC, Carrier
from whimbrel.migrate.container.rounds import enough
from whimbrel.migrate.container.side import Line, Side
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import ContainerTechniqueName
from whimbrel.system.deadline import Deadline, pause

_LOOK_EVERY_S = 0.1
_READY_S = 60.0
_PATIENCE_S = 120

Result = Literal["moved", "failed", "aborted"]


class ContainerMove:
    """One of the techniques above. Implements ``migrate.technique.Technique``."""

    moves = "container"

    def __init__(self, name: ContainerTechniqueName) -> None:
        self.name: str = name

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Moves the container; see ``Technique.move``."""
        called_ns = journal.mark("move called")
        assert request.carriers is not None
        source, destination = request.carriers
        attempt = _Attempt(self.name, source, destination, request, journal)
        try:
            error = attempt.run()
            returned_ns = journal.mark("move returned")
            if error is None:
                attempt.note_statistics()
        finally:
            attempt.end()
        return MoveReport(
            called_ns=called_ns,
            returned_ns=returned_ns,
            result="moved" if error is None else "aborted" if attempt.aborted else "failed",
            error=error,
            reserved_memory_bytes=0,
            reserved_disk_bytes=0,
            completed=None,
        )


class _Attempt:
    """Both sides, from the first order to the last line of their journals."""

    def __init__(self, name: str, source: Carrier, destination: Carrier, request: MoveRequest, journal: Journal) -> None:
        self._name = name
        self._depart = Side("source", source)
        self._arrive = Side("destination", destination)
        self._spec = request.spec
        self._journal = journal
        self._seen: dict[str, list[Line]] = {"source": [], "destination": []}
        self.aborted = False

    def run(self) -> str | None:
        """Why it failed; None when the container has moved."""
        settings: dict[str, str | int] = {"TECHNIQUE": self._name, "MAC": CONTAINER_MAC, "PATIENCE_S": _PATIENCE_S}
        deadline = Deadline(self._spec.timeout_s)
        self._arrive.begin({**settings, "PEER": self._depart.carrier.address})
        self._wait(self._arrive, "listening".__eq__, Deadline(_READY_S))
        self._journal.mark("reserved")
        self._depart.begin({**settings, "PEER": self._arrive.carrier.address})
        self._wait(self._depart, "connected".__eq__, Deadline(_READY_S))
        if self._name == "pre-copy":
            self._make_rounds(deadline)
        if deadline.passed and self._spec.on_timeout == "abort":
            self.aborted = True
            self._depart.order("abort")
            return f"aborted: the time-out of {self._spec.timeout_s:.0f} s has passed"
        self._depart.order("leave")
        return self._watch_leaving()

    def _make_rounds(self, deadline: Deadline) -> None:
        written: list[int] = []
        while not deadline.passed:
            number = len(written) + 1
            self._depart.order("round")
            self._wait(self._depart, f"round {number} ended".__eq__, deadline)
            stats = self._stats(str(number))
            written.append(stats.pages_written)
            self._journal.mark("round", number=number, **vars(stats))
            why = enough(written, self._spec.max_rounds)
            if why is not None:
                self._journal.mark("rounds ended", why=why)
                return

    def _stats(self, folder: str) -> DumpStats:
        content = self._depart.fetch(f"work/{folder}/stats-dump")
        if content is None:
            raise MoveError(f"CRIU left no statistics of round {folder}", details=self._depart.last_words())
        return dump_stats(content)

    def note_statistics(self) -> None:
        """What CRIU says of the last dump and of the restore; of a post-copy dump it says nonsense."""
        dumped = self._depart.fetch("work/final/stats-dump")
        if dumped is not None and self._name != "post-copy":
            self._journal.mark("dump", **vars(dump_stats(dumped)))
        restored = self._arrive.fetch("work/restore/stats-restore")
        if restored is not None:
            self._journal.mark("restore", **vars(restore_stats(restored)))

    def _watch_leaving(self) -> str | None:
        deadline = Deadline(2 * _PATIENCE_S)
        while not deadline.passed:
            self._look()
            for line in self._seen["source"]:
                if line.words == "gone":
                    return None
                if line.words.startswith(("failed", "lost", "no answer")) and not self._depart.running:
                    return f"{line.words}\n{self._depart.last_words()}\n{self._arrive.last_words()}"
            if not self._depart.running:
                self._look()
                if not any(line.words == "gone" for line in self._seen["source"]):
                    return f"the source's side ended in the middle\n{self._depart.last_words()}"
            pause(_LOOK_EVERY_S)
        return f"nothing was heard of it for {2 * _PATIENCE_S} s\n{self._depart.last_words()}"

    def _wait(self, side: Side, true: Callable[[str], bool], deadline: Deadline) -> None:
        while True:
            self._look()
            lines = [line.words for line in self._seen[side.role]]
            if any(true(words) for words in lines):
                return
            failed = next((words for words in lines if words.startswith("failed")), None)
            if failed is not None or deadline.passed or not side.running:
                raise MoveError(f"the {side.role}'s side: {failed or 'did not get ready'}", details=side.last_words())
            pause(_LOOK_EVERY_S)

    def _look(self) -> None:
        for side in (self._depart, self._arrive):
            with contextlib.suppress(WhimbrelError):
                for line in side.news():
                    self._seen[side.role].append(line)
                    self._journal.quote(side.carrier.name, line.words, line.realtime_ns)

    def end(self) -> None:
        """Ends both scripts, once the last lines are read."""
        self._look()
        for side in (self._depart, self._arrive):
            with contextlib.suppress(WhimbrelError):
                side.end()
