"""Cold (the paper's cold migration): the guest is shut down in order and booted anew on the destination, with its disk alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from whimbrel.engines.domain import Domain
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, GuestError, MoveError, TrialError, UnsafeStateError
from whimbrel.migrate.live import find_running
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, fit_for_both, make_room, send
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.system.deadline import Deadline, wait_until

_POWER_OFF_S = 120.0
_BOOT_S = 300.0
# While it boots there it is asked so often whether it is up, and the user whether it is to go back.
_LOOK_EVERY_S = 2.0
# Steps that a recovery asks for.
SHUTTING_DOWN, BOOT_THERE = "shutting down", "boot there"


class Cold:
    """Implements ``migrate.technique.Technique``."""

    name = "cold"
    moves = "vm"

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Shuts the guest down and boots it there. When it does not boot there, it is booted on its source again."""
        called_ns = journal.mark("move called")
        disk = disk_to_move(request)
        with (
            reserved(request.destination, request.guest, request.memory_bytes, disk_to_book_bytes(request, disk)) as booking,
            Connection.open(request.source.libvirt_uri) as source,
            Connection.open(request.destination.libvirt_uri) as destination,
        ):
            journal.mark("reserved", memory_bytes=booking.memory_bytes, disk_bytes=booking.disk_bytes)
            domain = find_running(source, request)
            if disk is not None:
                make_room(request, disk)
                journal.mark("disk made ready", size_bytes=disk.size_bytes, held_bytes=disk.held_bytes)
            description = fit_for_both(request, domain.description)
            GuestAgent(domain).shell("sync")
            journal.mark(SHUTTING_DOWN)
            domain.shutdown_by_agent()
            error: str | None = None
            aborted = False
            try:
                self._wait_for_power_off(domain, request)
                journal.mark("powered off")
                self._bring_over(destination, request, description, journal)
            except KeyboardInterrupt:
                self._give_back(source, destination, request, description, journal)
                raise
            except (TrialError, MoveError) as why:
                aborted = isinstance(why, _AbortedError)
                # Nothing runs anywhere now; its disk is whole, so its source can have it back.
                error = _both(str(why), self._boot_again(source, request, description, journal))
            return MoveReport(
                called_ns=called_ns,
                returned_ns=journal.mark("move returned"),
                result="moved" if error is None else "aborted" if aborted else "failed",
                error=error,
                reserved_memory_bytes=booking.memory_bytes,
                reserved_disk_bytes=booking.disk_bytes,
                completed=None,
            )

    @staticmethod
    def _wait_for_power_off(domain: Domain, request: MoveRequest) -> None:
        try:
            wait_until(
                lambda: ((True, "off") if not domain.active else (None, "still on")),
                f"the power-off of {request.guest}", Deadline(_POWER_OFF_S), error=GuestError,
            )  # fmt: skip
        except GuestError as error:
            raise UnsafeStateError(
                f"{request.guest} was told to power off, and has not done so for {_POWER_OFF_S:.0f} s: it still may",
                details=str(error),
                resolution="'whimbrel recover' waits for it and boots it again on its source; its console says what holds it up",
            ) from error

    def _bring_over(self, destination: Connection, request: MoveRequest, description: str, journal: Journal) -> None:
        """Its disk where that moves along, then the guest; TrialError or MoveError when that fails or is not wanted any more."""
        _stop_if_unwanted(request)
        if request.spec.storage != "shared":
            in_time = Deadline(request.spec.timeout_s)
            send(request, journal, lambda: _stop_if_unwanted(request, in_time))
            _stop_if_unwanted(request)
        # From here on the disk there may be the newer one.
        journal.mark(BOOT_THERE)
        self._boot(destination, request, description, journal, lambda: _stop_if_unwanted(request))

    def _give_back(
        self, source: Connection, destination: Connection, request: MoveRequest, description: str, journal: Journal
    ) -> None:
        """The guest back to its source, whatever was done so far."""
        left = source.find(request.guest)
        if left is not None:
            self._wait_for_power_off(left, request)
        arrived = destination.find(request.guest)
        if arrived is not None:
            arrived.destroy()
        error = self._boot_again(source, request, description, journal)
        if error is not None:
            raise UnsafeStateError(
                f"{request.guest} is off, and did not boot again on its source",
                details=error,
                resolution="mend what is named, and start it from its disk ('whimbrel recover')",
            )

    def _boot_again(self, source: Connection, request: MoveRequest, description: str, journal: Journal) -> str | None:
        """Boots the guest where it was; what went wrong, or None."""
        try:
            self._boot(source, request, description, journal, lambda: None)
        except (TrialError, MoveError) as error:
            return str(error)
        return None

    @staticmethod
    def _boot(
        host: Connection, request: MoveRequest, description: str, journal: Journal, stop_if_unwanted: Callable[[], None]
    ) -> None:
        """Boots the guest and starts its service. When that fails, nothing of it is left on the host."""
        try:
            agent = GuestAgent(host.create(description))
            _wait_until_up(agent, stop_if_unwanted)
            journal.mark("booted")
            request.after_boot(agent)
        except (TrialError, MoveError):
            # A host that has died has nothing left; where it runs in the end is looked at anyway.
            with contextlib.suppress(EngineError):
                left = host.find(request.guest)
                if left is not None:
                    left.destroy()
            raise


class _AbortedError(MoveError):
    """It ends where it began because we decided so, not because anything failed."""


def _stop_if_unwanted(request: MoveRequest, in_time: Deadline | None = None) -> None:
    """MoveError when the guest is not to go there after all; ``in_time`` is what the step may take."""
    if request.destination.gone:
        raise MoveError(f"host {request.destination.name} has died")
    if request.told_to_abort():
        raise _AbortedError("aborted: it was asked for")
    if in_time is not None and in_time.passed:
        raise _AbortedError(f"aborted: its disk was not copied within {in_time.seconds:.0f} s")


def _wait_until_up(agent: GuestAgent, stop_if_unwanted: Callable[[], None]) -> None:
    """Until the guest answers; GuestError when it does not."""
    deadline = Deadline(_BOOT_S)
    while True:
        try:
            agent.wait(min(_LOOK_EVERY_S, deadline.left_s))
            return
        except GuestError:
            if deadline.passed:
                raise
        stop_if_unwanted()


def _both(error: str, again: str | None) -> str:
    """Why it did not come over, and why it did not boot on its source either, where that is so."""
    return error if again is None else f"{error}; and it did not boot again on its source: {again}"
