"""One attempt at a live move: the call to libvirt, and beside it what its course asks for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Literal

from whimbrel.engines.events import GuestEvent
from whimbrel.engines.hypervisor import GuestMove, MoveOptions
from whimbrel.errors import EngineError, UnsafeStateError
from whimbrel.migrate.call import MoveCall
from whimbrel.migrate.course import Abort, AskHowFar, Course, CourseAction, Order, RaiseLimit, Sight, Switch
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.system.deadline import Deadline, pause

_LOOK_EVERY_S = 0.05
ABORT_PATIENCE_S = 60.0
# Longer than libvirt waits for its own lock (30 s).
_ORDER_PATIENCE_S = 45.0
# A disk's copy that was cancelled ends within a second, unless its connection is dead.
_CANCEL_PATIENCE_S = 5.0
# QEMU's greatest downtime-limit (2,000 s): any remainder fits, so the switch comes at once.
ANY_DOWNTIME_MS = 2_000_000


class Attempt:
    """One attempt at a live move. It is to be told of the guest's events (``on_event``) from before ``run``."""

    def __init__(self, guest: GuestMove, request: MoveRequest, options: Callable[[], MoveOptions], journal: Journal) -> None:
        self._guest = guest
        self._request = request
        self._journal = journal
        self._call = MoveCall(guest, options, journal)
        self._course = Course.begin(request.spec)
        self._rounds = 0
        self._began_s = 0.0
        self._aborted = False
        self._giving: threading.Thread | None = None

    def on_event(self, event: GuestEvent) -> None:
        """Counts the passes over memory."""
        if event.guest == self._request.what.name and event.round is not None:
            self._rounds = event.round

    def run(self) -> None:
        """Returns when the move has ended, well or not; on Ctrl-C it is aborted first, or waited for where it can only go on."""
        # QEMU keeps the limit for the moves that follow, so it is set for each.
        self._guest.set_max_downtime_ms(max(1, round(self._course.limit_s * 1000)))
        self._began_s = time.monotonic()
        self._call.start()
        try:
            self._watch()
        except BaseException:
            try:
                self._see_it_out()
            finally:
                # Also when there is no room left to write down what is done.
                self._refuse_to_leave_it()
            raise
        self._refuse_to_leave_it()

    @property
    def returned_ns(self) -> int:
        """When libvirt's call returned."""
        return self._call.returned_ns

    @property
    def result(self) -> Literal["moved", "failed", "aborted"]:
        """How the move ended."""
        if self._call.error is None and self._call.ended.is_set():
            return "moved"
        return "aborted" if self._aborted else "failed"

    @property
    def error(self) -> EngineError | None:
        """What libvirt said when it failed."""
        return self._call.error

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _watch(self) -> None:
        """Follows it until it has ended, or was told to abort."""
        while not self._call.ended.wait(_LOOK_EVERY_S):
            sight = Sight(self._elapsed_s(), self._rounds, self._request.why_abort)
            self._course, actions = self._course.look(sight)
            if not all(self._do(action, sight.elapsed_s) for action in actions):
                return

    def _see_it_out(self) -> None:
        if self._giving is not None:
            # Ctrl-C came while an order was given: only its answer says whether it was taken.
            self._giving.join(_ORDER_PATIENCE_S)
        elapsed_s = self._elapsed_s()
        self._course, actions = self._course.interrupted(elapsed_s)
        if all(self._do(action, elapsed_s) for action in actions):
            self._watch()

    def _refuse_to_leave_it(self) -> None:
        if not self._call.ended.is_set():
            raise UnsafeStateError(
                f"the move of {self._request.what} does not end, though it was told to",
                resolution="look at the guest on both hosts ('virsh list --all') before starting it anywhere",
            )

    def _do(self, action: CourseAction, elapsed_s: float) -> bool:
        """Does it; False when the move was aborted and there is nothing more to do."""
        match action:
            case RaiseLimit(seconds):
                self._raise_limit(seconds)
            case Switch(order, again):
                self._switch(order, again, elapsed_s)
            case AskHowFar():
                self._course, actions = self._course.how_far(elapsed_s, self._moved_bytes())
                return all(self._do(each, elapsed_s) for each in actions)
            case Abort(why):
                self._abort(why)
                return False
        return True

    def _raise_limit(self, seconds: float) -> None:
        self._journal.mark("pause limit", seconds=seconds)
        with contextlib.suppress(EngineError):
            self._guest.set_max_downtime_ms(round(seconds * 1000))

    def _switch(self, order: Order, again: bool, elapsed_s: float) -> None:
        if not again:
            self._journal.mark(order, rounds=self._rounds, elapsed_s=elapsed_s)
        self._course = self._course.given(order)
        # On a thread of its own: Ctrl-C would replace the answer.
        self._giving = threading.Thread(target=self._give, args=(order, elapsed_s), name="switch", daemon=True)
        self._giving.start()
        self._giving.join()

    def _give(self, order: Order, elapsed_s: float) -> None:
        try:
            if order == "post-copy":
                self._guest.start_post_copy()
            else:
                self._guest.set_max_downtime_ms(ANY_DOWNTIME_MS)
        except EngineError:
            # The move may have just ended by itself, which we see at once. Else libvirt was busy, and hears it again.
            self._course = self._course.refused()
            return
        self._course = self._course.taken(elapsed_s, self._moved_bytes())

    def _moved_bytes(self) -> int | None:
        with contextlib.suppress(EngineError):
            found = self._guest.progress()
            return found.transferred_bytes if found is not None else None
        return None

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
        deadline, patient = Deadline(ABORT_PATIENCE_S), Deadline(_CANCEL_PATIENCE_S)
        while not self._call.ended.is_set() and not deadline.passed:
            # Whatever is answered, only the end of the move counts.
            with contextlib.suppress(EngineError):
                self._guest.abort()
                if patient.passed:
                    self._guest.break_off_disk()
            pause(_LOOK_EVERY_S, self._call.ended)
