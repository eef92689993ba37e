"""Moves that QEMU makes, peer to peer between two libvirtds; the limits that QEMU lacks are ours.

- pre-copy: all memory is sent while the guest runs, then what it dirtied meanwhile, again and again; then it stops and the
  rest is sent;
- paused: the guest stands still from the beginning to the end;
- post-copy: the guest goes first, its memory follows; pre-post-copy sends memory once or more before.

A disk that moves along is copied first, while the guest runs, whatever the technique; what the guest writes after that is copied
as well, until it has stopped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Literal

from whimbrel.engines.domain import Domain, MoveOptions
from whimbrel.engines.libvirt import Connection, MonitorEvent
from whimbrel.errors import EngineError, MoveError, UnsafeStateError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.limits import Action, decide, pause_limit_s
from whimbrel.migrate.processors import refuse_lesser_processor
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, fit_for_both, make_room
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import TechniqueName, whole_mib_per_s
from whimbrel.system.deadline import Deadline, pause

_LOOK_EVERY_S = 0.05
_ABORT_PATIENCE_S = 60.0
# Longer than libvirt waits for its own lock (30 s).
_ORDER_PATIENCE_S = 45.0
# A disk's copy that was cancelled ends within a second, unless its connection is dead.
_CANCEL_PATIENCE_S = 5.0
# How long stop-and-copy, or post-copy, may take without getting on.
_LAST_PATIENCE_S = 600.0
# QEMU's greatest downtime-limit (2,000 s): any remainder fits, so the switch comes at once.
_ANY_DOWNTIME_MS = 2_000_000
# Beyond any link. Left unsaid, QEMU would limit itself to 128 MiB/s.
_AS_FAST_AS_IT_GOES_MIB_PER_S = 1_000_000


class LiveMove:
    """One of the techniques above. Implements ``migrate.technique.Technique``."""

    moves = "vm"

    def __init__(self, name: TechniqueName) -> None:
        self.name: str = name

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Moves the guest; see ``Technique.move``."""
        refuse_lesser_processor(request)
        called_ns = journal.mark("move called")
        destination = request.destination
        disk = disk_to_move(request)
        with (
            reserved(destination, request.guest.name, request.memory_bytes, disk_to_book_bytes(request, disk)) as booking,
            Connection.open(request.source.libvirt_uri) as source,
            Connection.open(destination.libvirt_uri) as at_destination,
        ):
            journal.mark("reserved", memory_bytes=booking.memory_bytes, disk_bytes=booking.disk_bytes)
            domain = find_running(source, request)
            make_room(request, disk, journal)
            attempt = _Attempt(domain, request, journal, source)
            attempt.run()
            return MoveReport(
                called_ns=called_ns,
                returned_ns=attempt.returned_ns,
                result=attempt.result,
                error=attempt.error,
                reserved_memory_bytes=booking.memory_bytes,
                reserved_disk_bytes=booking.disk_bytes,
                completed=completed_job(at_destination, request.guest) if attempt.result == "moved" else None,
            )


def options_of(request: MoveRequest, resume: bool = False) -> MoveOptions:
    """What libvirt is told; with ``resume``, to go on with a post-copy move that has stopped in the middle."""
    spec = request.spec
    bandwidth = spec.bandwidth_set_bytes_per_s
    return MoveOptions(
        peer_uri=request.destination.peer_uri,
        move_uri=request.destination.move_uri,
        bandwidth_mib_per_s=whole_mib_per_s(bandwidth) if bandwidth is not None else _AS_FAST_AS_IT_GOES_MIB_PER_S,
        live=spec.technique != "paused",
        post_copy=spec.ends_as_post_copy,
        auto_converge=spec.auto_converge,
        compression=None if spec.compression == "none" else spec.compression,
        connections=spec.connections,
        tls=spec.tls,
        storage=spec.storage,
        resume=resume,
    )


def find_running(source: Connection, request: MoveRequest) -> Domain:
    """The guest on its source; MoveError when it does not run there."""
    domain = source.find(request.guest.uuid)
    if domain is None or not domain.executing:
        raise MoveError(f"{request.guest} does not run on host {request.source.name}", resolution="start it there first")
    return domain


def completed_job(destination: Connection, guest: GuestIdentity) -> dict[str, int] | None:
    """The job's statistics; None when the destination's libvirt, or the guest, has gone meanwhile: that is found out later."""
    with contextlib.suppress(EngineError):
        arrived = destination.find(guest.uuid)
        return arrived.completed_job_stats() if arrived is not None else None
    return None


class _Attempt:
    """One call to libvirt on a thread of its own, and our limits beside it."""

    def __init__(self, domain: Domain, request: MoveRequest, journal: Journal, connection: Connection) -> None:
        self._domain = domain
        self._request = request
        self._journal = journal
        self._rounds = 0
        self._ended = threading.Event()
        self._error: EngineError | None = None
        self._aborted = False
        self._limit_s = 0.0
        # How long the disk took before the first round; 0 when none moves along.
        self._disk_s = 0.0
        # The switch that was ordered, and when libvirt took the order, in seconds since the call; when the move was last seen to
        # have got on since, and how far.
        self._ordered: Action | None = None
        self._switched: float | None = None
        self._got_on_s = 0.0
        self._moved_bytes: int | None = None
        # Whether its memory follows the guest, or was told to.
        self._follows = False
        self._order: threading.Thread | None = None
        self.returned_ns = 0
        connection.on_monitor_event(self._on_event)

    def _on_event(self, event: MonitorEvent) -> None:
        if event.domain == self._request.guest.name and event.name == "MIGRATION_PASS":
            self._rounds = int(event.data["pass"])

    def run(self) -> None:
        """Returns when the move has ended, well or not; on Ctrl-C it is aborted first, or waited for where it can only go on."""
        # QEMU keeps the limit for the moves that follow, so it is set for each.
        self._limit_s = pause_limit_s(self._request.spec, 0.0)
        self._domain.set_max_downtime_ms(max(1, round(self._limit_s * 1000)))
        caller = threading.Thread(target=self._call, name="move", daemon=True)
        caller.start()
        try:
            self._watch()
        except BaseException:
            self._see_it_out()
            self._refuse_to_leave_it()
            raise
        self._refuse_to_leave_it()

    def _see_it_out(self) -> None:
        """Aborts it, or waits for it as long as it gets on, where neither side has all of it."""
        if self._order is not None:
            # Ctrl-C came while it was given: only its answer says whether it was taken.
            self._order.join(_ORDER_PATIENCE_S)
        if self._may_abort:
            self._abort("interrupted")
            return
        began_s = time.monotonic()
        self._got_on_s = 0.0
        while not self._ended.wait(_LOOK_EVERY_S) and not self._is_stuck(time.monotonic() - began_s):
            pass

    def _refuse_to_leave_it(self) -> None:
        if not self._ended.is_set():
            raise UnsafeStateError(
                f"the move of {self._request.guest} does not end, though it was told to",
                resolution="look at the guest on both hosts ('virsh list --all') before starting it anywhere",
            )

    def _call(self) -> None:
        options = options_of(self._request)
        try:
            self._domain.migrate(replace(options, destination_xml=self._arriving_xml()))
        except EngineError as error:
            self._error = error
        except BaseException as error:  # a thread has nobody to raise to: it ends the move as a failure
            self._error = EngineError("the call that moves the guest broke", details=repr(error))
        finally:
            self.returned_ns = self._journal.note("move returned")
            self._ended.set()

    def _arriving_xml(self) -> str | None:
        """The guest's description on the destination, where it may be another; else libvirt sends its own."""
        request = self._request
        return None if request.spec.storage == "shared" else fit_for_both(request, self._domain.arriving_description)

    def _watch(self) -> None:
        began_s = time.monotonic()
        while not self._ended.wait(_LOOK_EVERY_S):
            elapsed_s = time.monotonic() - began_s
            if self._may_abort and self._request.told_to_abort():
                self._abort("it was asked for")
                return
            if self._rounds == 0 and self._request.spec.storage != "shared":
                self._disk_s = elapsed_s
            action = decide(self._request.spec, self._rounds, elapsed_s, self._disk_s)
            if self._may_abort and action == "abort":
                self._abort(f"not done after {elapsed_s:.0f} s")
                return
            if self._switched is None:
                self._raise_limit(elapsed_s - self._disk_s)
                if action != "go on":
                    self._switch(action, elapsed_s)
            elif self._is_stuck(elapsed_s):
                self._abort(f"not done {elapsed_s - self._switched:.0f} s after the switch, and it no longer gets on")
                return

    def _is_stuck(self, elapsed_s: float) -> bool:
        """Whether nothing was sent for long: however much memory follows a guest, it is waited for while it comes."""
        if elapsed_s - self._got_on_s <= _LAST_PATIENCE_S:
            return False
        before = self._moved_bytes
        self._note_sent()
        self._got_on_s = elapsed_s
        return self._moved_bytes == before

    def _note_sent(self) -> None:
        with contextlib.suppress(EngineError):
            self._moved_bytes = (self._domain.job_stats() or {}).get("memory_processed")

    @property
    def _may_abort(self) -> bool:
        """Whether the source can still have its guest back: not when the guest was told to go before its memory."""
        return not self._follows

    def _raise_limit(self, elapsed_s: float) -> None:
        limit_s = pause_limit_s(self._request.spec, elapsed_s)
        if limit_s > self._limit_s:
            self._limit_s = limit_s
            self._journal.mark("pause limit", seconds=limit_s)
            with contextlib.suppress(EngineError):
                self._domain.set_max_downtime_ms(round(limit_s * 1000))

    def _switch(self, action: Action, elapsed_s: float) -> None:
        """Stops the guest and copies, or lets it go first. The point of no return of post-copy: from here on the source has no
        whole copy any more.
        """
        if self._ordered != action:
            self._journal.mark(action, rounds=self._rounds, elapsed_s=elapsed_s)
            self._ordered = action
        # Said before it is given, and unsaid when it is refused. On a thread of its own: Ctrl-C would replace the answer.
        self._follows = action == "post-copy"
        self._order = threading.Thread(target=self._give, args=(action, elapsed_s), name="switch", daemon=True)
        self._order.start()
        self._order.join()

    def _give(self, order: Action, elapsed_s: float) -> None:
        try:
            if order == "post-copy":
                self._domain.start_post_copy()
            else:
                self._domain.set_max_downtime_ms(_ANY_DOWNTIME_MS)
        except EngineError:
            # The move may have just ended by itself, which we see at once. Else libvirt was busy, and hears it again.
            self._follows = False
            return
        self._switched = self._got_on_s = elapsed_s
        self._note_sent()

    def _abort(self, why: str) -> None:
        """Returns when the move has ended, or does not though it was told to."""
        self._aborted = True
        try:
            self._journal.mark("abort", why=why)
        finally:
            # Also when there is no room left to write it down.
            self._tell_to_abort()

    def _tell_to_abort(self) -> None:
        """An abort can come before libvirt has a job to abort, so it is said again until the move ends."""
        deadline, patient = Deadline(_ABORT_PATIENCE_S), Deadline(_CANCEL_PATIENCE_S)
        while not self._ended.is_set() and not deadline.passed:
            # Whatever is answered, only the end of the move counts.
            with contextlib.suppress(EngineError):
                self._domain.abort_job()
                if patient.passed:
                    self._domain.break_off_disk()
            pause(_LOOK_EVERY_S, self._ended)

    @property
    def result(self) -> Literal["moved", "failed", "aborted"]:
        """How it ended."""
        if self._error is None and self._ended.is_set():
            return "moved"
        return "aborted" if self._aborted else "failed"

    @property
    def error(self) -> str | None:
        """What libvirt said when it failed."""
        return str(self._error) if self._error is not None else None
