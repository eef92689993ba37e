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
from typing import Literal, NoReturn

from whimbrel.engines.criu import DumpStats, dump_stats, restore_stats
from whimbrel.errors import MoveError, ReservationError, WhimbrelError
from whimbrel.guests import carrier
from whimbrel.migrate.container.rounds import MOST_ROUNDS, enough
from whimbrel.migrate.container.side import Line, Role, Side
from whimbrel.migrate.container.sides import ContainerSides
from whimbrel.migrate.recovery import Intention, decide
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.migrate.verify import find_copies
from whimbrel.spec.migration import ContainerTechniqueName
from whimbrel.system.deadline import Deadline, pause
from whimbrel.units import format_bytes

_LOOK_EVERY_S = 0.1
# While the container stands still, looking takes the very processors that dump and restore it.
LOOK_WHILE_LEAVING_S = 0.5
_READY_S = 120.0
# After so long without a word it is asked whether the source's script still runs: one that was killed says nothing.
QUIET_S = 15.0
# Longer than everything that the scripts wait for (common.sh), besides what a move's time-out limits.
_LEAVING_S = 240.0
_BAD = ("failed", "lost", "no answer")


class ContainerMove:
    """One of the techniques above. Implements ``migrate.technique.Technique``."""

    moves = "container"

    def __init__(self, name: ContainerTechniqueName) -> None:
        self.name: str = name

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Moves the container; see ``Technique.move``."""
        called_ns = journal.mark("move called")
        needed_bytes = _reserve(request, self.name)
        attempt = _Attempt(self.name, request, journal)
        result: Literal["moved", "failed", "aborted"] = "moved"
        error: MoveError | None = None
        try:
            attempt.run()
        except MoveError as found:
            error, result = found, "aborted" if attempt.aborted else "failed"
        except BaseException:
            # Interrupted once more, it leaves both sides to themselves: to end them could end the only copy that may go on.
            attempt.see_it_out()
            attempt.end()
            raise
        returned_ns = journal.note("move returned")
        attempt.end()
        return MoveReport(
            called_ns=called_ns,
            returned_ns=returned_ns,
            result=result,
            error=error,
            reserved_memory_bytes=needed_bytes,
            reserved_disk_bytes=0,
            completed=None,
        )


def _reserve(request: MoveRequest, technique: str) -> int | None:
    """What the destination must have free in memory, in bytes; ReservationError when it has not.

    Images and files lie in memory there until they have been restored, so a dumped container needs its memory twice; one that
    is started anew, or whose pages are fetched from the source, needs it once. None, and no check, where nobody counts it.
    """
    assert request.carriers is not None
    source, destination = request.carriers
    needs = carrier.needs(source.inside)
    if needs.memory_bytes is None:
        return None
    needed_bytes = needs.memory_bytes * (2 if technique in ("checkpoint", "pre-copy") else 1) + needs.files_bytes
    free_bytes = carrier.free_memory_bytes(destination.inside)
    if needed_bytes > free_bytes:
        raise ReservationError(
            f"the carrier on host {destination.name} has no room for {request.what}",
            details=f"needed: {format_bytes(needed_bytes)}; free: {format_bytes(free_bytes)}",
            resolution="free some memory in that carrier; nothing was moved",
        )
    return needed_bytes


class _Attempt:
    """Both sides, from the first order to the last line of their journals."""

    def __init__(self, name: str, request: MoveRequest, journal: Journal) -> None:
        assert request.carriers is not None
        source, destination = request.carriers
        self._name = name
        self._request = request
        self._depart = Side("source", source)
        self._arrive = Side("destination", destination)
        self._spec = request.spec
        self._journal = journal
        self._seen: dict[str, list[Line]] = {"source": [], "destination": []}
        self._left = False
        self._quiet = Deadline(QUIET_S)
        self.aborted = False

    def run(self) -> None:
        """Returns when the container has moved; MoveError says why it has not."""
        settings: dict[str, str | int] = {"TECHNIQUE": self._name, "PATIENCE_S": round(self._spec.timeout_s)}
        self._arrive.begin({**settings, "PEER": self._depart.carrier.address})
        self._wait_for(self._arrive, "listening", Deadline(_READY_S))
        self._journal.mark("reserved")
        self._depart.begin({**settings, "PEER": self._arrive.carrier.address})
        self._wait_for(self._depart, "connected", Deadline(_READY_S))
        # Until here nothing was tried: getting ready, which has limits of its own, does not count.
        deadline = Deadline(self._spec.timeout_s)
        self._send_files_ahead(deadline)
        if self._name == "pre-copy":
            self._make_rounds(deadline)
        if deadline.passed and self._spec.on_timeout == "abort":
            self._abort(f"the time-out of {self._spec.timeout_s:.0f} s has passed")
        self._abort_if_told()
        # From here on the two sides settle it among themselves.
        self._journal.mark("leave")
        self._left = True
        self._depart.order("leave")
        self._watch_leaving()
        self._note_statistics()

    def see_it_out(self) -> None:
        """What was told to leave is waited for: in between, neither side alone has all of it."""
        if self._left:
            with contextlib.suppress(MoveError):
                self._watch_leaving()

    def _abort_if_told(self) -> None:
        why = self._request.why_abort
        if why is not None:
            self._abort(why)

    def _abort(self, why: str) -> NoReturn:
        self.aborted = True
        self._journal.mark("abort", why=why)
        self._depart.order("abort")
        raise MoveError(f"aborted: {why}")

    def _send_files_ahead(self, deadline: Deadline) -> None:
        """What it has written so far. Without it nothing can go on, whatever is to be done when the time-out has passed."""
        while True:
            self._abort_if_told()
            if deadline.passed:
                self._abort(f"its files were not sent within the time-out of {self._spec.timeout_s:.0f} s")
            if self._has_come(self._depart, "files ahead"):
                return
            pause(_LOOK_EVERY_S)

    def _make_rounds(self, deadline: Deadline) -> None:
        written: list[int] = []
        while not deadline.passed and self._request.why_abort is None:
            number = len(written) + 1
            self._depart.order("round")
            self._wait_for(self._depart, f"round {number} ended", Deadline(self._spec.timeout_s))
            stats = self._stats(str(number))
            written.append(stats.pages_written)
            self._journal.mark("round", number=number, **vars(stats))
            why = enough(written, min(self._spec.max_rounds, MOST_ROUNDS))
            if why is not None:
                self._journal.mark("rounds ended", why=why)
                return

    def _stats(self, folder: str) -> DumpStats:
        content = self._depart.fetch(f"work/{folder}/stats-dump")
        if content is None:
            raise MoveError(f"CRIU left no statistics of round {folder}", details=self._depart.last_words())
        return dump_stats(content)

    def _watch_leaving(self) -> None:
        """Until the source's side has ended its copy, or says why not. A post-copy move lasts as long as memory is sent."""
        # The destination waits for dump and files as long as this (arrive.sh), however much the container holds.
        patience_s = _LEAVING_S + 3 * self._spec.timeout_s
        deadline, silent = Deadline(patience_s), Deadline(patience_s)
        while True:
            answers = self._look()
            if answers:
                silent = Deadline(patience_s)
            bad = self._complaint("source")
            over = (bad is not None or deadline.passed or not answers or self._quiet.passed) and not self._still(self._depart)
            if over:
                # What it has said last, between our look and its end.
                self._look()
            if "gone" in self._words("source"):
                return
            if over:
                raise MoveError(bad or "the source's side ended in the middle", details=self._evidence())
            if silent.passed or (deadline.passed and "commit" not in self._words("source")):
                raise MoveError(f"nothing was heard of it for {patience_s:.0f} s", details=self._evidence())
            pause(LOOK_WHILE_LEAVING_S)

    def _wait_for(self, side: Side, wanted: str, deadline: Deadline) -> None:
        while not self._has_come(side, wanted, deadline.passed):
            pause(_LOOK_EVERY_S)

    def _has_come(self, side: Side, wanted: str, over: bool = False) -> bool:
        """Whether a side has said what is wanted; MoveError when it never will, or time is over."""
        self._look()
        if wanted in self._words(side.role):
            return True
        failed = self._complaint(side.role)
        if failed is not None or over or not self._still(side):
            raise MoveError(f"the {side.role}'s side: {failed or 'did not get ready'}", details=self._evidence())
        return False

    def _still(self, side: Side) -> bool:
        """Whether a side's script runs; one that cannot be asked may, unless its carrier has ended."""
        self._quiet = Deadline(QUIET_S)
        try:
            return side.running
        except WhimbrelError:
            with contextlib.suppress(WhimbrelError):
                return not side.carrier.ended
            return True

    def _words(self, role: Role) -> list[str]:
        return [line.words for line in self._seen[role]]

    def _complaint(self, role: Role) -> str | None:
        return next((said for said in self._words(role) if said.startswith(_BAD)), None)

    def _look(self) -> bool:
        """Reads what both sides have said since the last look; whether the source's answered."""
        answered = {side.role: self._hear(side) for side in (self._depart, self._arrive)}
        return answered["source"]

    def _hear(self, side: Side) -> bool:
        with contextlib.suppress(WhimbrelError):
            for line in side.news():
                self._quiet = Deadline(QUIET_S)
                self._seen[side.role].append(line)
                self._journal.quote(side.carrier.name, line.words, line.realtime_ns)
            return True
        return False

    def _evidence(self) -> str:
        said = []
        for side in (self._depart, self._arrive):
            with contextlib.suppress(WhimbrelError):
                said.append(f"{side.role}: {side.last_words()}")
        return "\n".join(said)

    def _note_statistics(self) -> None:
        """What CRIU says of dump and restore; of a post-copy dump it says nonsense, and of a side that has died nothing."""
        with contextlib.suppress(WhimbrelError):
            self._note_what_criu_says()

    def _note_what_criu_says(self) -> None:
        dumped = self._depart.fetch("work/final/stats-dump")
        if dumped is not None and self._name != "post-copy":
            self._journal.mark("dump", **vars(dump_stats(dumped)))
        restored = self._arrive.fetch("work/restore/stats-restore")
        if restored is not None:
            self._journal.mark("restore", **vars(restore_stats(restored)))

    def end(self) -> None:
        """Ends both scripts, the source's first; then settles which side may run, where neither could."""
        for side in (self._depart, self._arrive):
            with contextlib.suppress(WhimbrelError):
                side.end()
        self._look()
        with contextlib.suppress(WhimbrelError):
            self._settle()
        with contextlib.suppress(WhimbrelError):
            self._clear()

    def _settle(self) -> None:
        """As a recovery would: a source that stands still goes on only when the destination cannot have gone on."""
        sides = ContainerSides(self._request)
        decision = decide(sides.look(), Intention())
        if decision.step in ("source goes on", "end source"):
            self._journal.mark(decision.step, why=decision.why)
            sides.take(decision.step)

    def _clear(self) -> None:
        """Unless a copy stands still: a recovery asks for what both sides have said."""
        if find_copies(self._request.what, self._request.places).standing:
            return
        for side in (self._depart, self._arrive):
            with contextlib.suppress(WhimbrelError):
                side.clear()
