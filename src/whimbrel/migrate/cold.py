"""Cold (the paper's cold migration): the guest is shut down in order and booted anew on the destination, with its disk alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.hypervisor import GuestLife, Hypervisor
from whimbrel.errors import EngineError, GuestError, MoveError, TrialError, UnsafeStateError
from whimbrel.guests.guest import take_power_away
from whimbrel.hosts.host import Host
from whimbrel.migrate.live import find_running
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, fit_for_both, make_room, send
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.migrate.verify import state_of
from whimbrel.system.deadline import Deadline, pause, wait_until

POWER_OFF_S = 120.0
BOOT_S = 300.0
# How long a host that does not answer is asked again to start the guest, or to end it: its libvirtd may be starting.
END_S = 60.0
# While it boots there it is asked so often whether it is up, and the user whether it is to go back.
LOOK_EVERY_S = 2.0
PAUSE_S = 0.05
# Steps that a recovery asks for.
SHUTTING_DOWN, BOOT_THERE = "shutting down", "boot there"


class Cold:
    """Shuts the guest down and boots it on the destination. Implements ``migrate.technique.Technique``."""

    name = "cold"
    moves = "vm"

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Shuts the guest down and boots it there. When it does not boot there, it is booted on its source again."""
        called_ns = journal.mark("move called")
        disk = disk_to_move(request)
        with (
            reserved(request.destination, request.what.name, request.memory_bytes, disk_to_book_bytes(request, disk)) as booking,
            request.source.hypervisor() as source,
        ):
            journal.mark("reserved", memory_bytes=booking.memory_bytes, disk_bytes=booking.disk_bytes)
            guest = find_running(source, request)
            make_room(request, disk, journal)
            attempt = _Attempt(request, fit_for_both(request, guest.description), journal)
            GuestAgent(guest).run(["sync"])
            attempt.run(guest)
            return MoveReport(
                called_ns=called_ns,
                returned_ns=journal.note("move returned"),
                result=attempt.result,
                error=attempt.error,
                reserved_memory_bytes=booking.memory_bytes,
                reserved_disk_bytes=booking.disk_bytes,
                completed=None,
            )


class _Attempt:
    """From the order to power off until the guest is up again, on one host or the other; ``description`` is what each starts it
    from.

    Once it is off, each look has a connection of its own: a libvirtd may be started again meanwhile.
    """

    def __init__(self, request: MoveRequest, description: str, journal: Journal) -> None:
        self._request = request
        self._description = description
        self._journal = journal
        # When it should be off; None until it is told.
        self._power_off: Deadline | None = None
        self._off = False
        self._begun_there = False
        self._arrived = False
        self.result: Literal["moved", "failed", "aborted"] = "moved"
        self.error: TrialError | MoveError | None = None

    def run(self, guest: GuestLife) -> None:
        """It is up again when this returns or raises, on its source or where it was to go; but for an UnsafeStateError."""
        try:
            why = self._try(guest)
            if why is not None:
                self.result = "aborted" if isinstance(why, _AbortedError) else "failed"
                self.error = why
                why.details = f"{why.details}{self._go_back(why)}".strip("; ")
        except UnsafeStateError:
            raise
        except BaseException as interrupt:
            # Ctrl-C, also on the way back; no room for the journal; a fault of our own: it is seen to all the same.
            if self._arrived:
                self._start_service(self._request.destination)
            else:
                self._go_back(interrupt)
            raise

    def _try(self, guest: GuestLife) -> TrialError | MoveError | None:
        """The way there; what went wrong, or None."""
        try:
            self._journal.mark(SHUTTING_DOWN)
            self._power_off = Deadline(POWER_OFF_S)
            guest.shutdown_by_agent()
            self._wait_for_power_off(lambda: not guest.active)
            self._journal.mark("powered off")
            self._bring_over()
        except (TrialError, MoveError) as why:
            return why
        return None

    def _wait_for_power_off(self, is_off: Callable[[], bool]) -> None:
        assert self._power_off is not None
        wait_until(
            lambda: (True, "off") if is_off() else (None, "still on"),
            f"the power-off of {self._request.what}", self._power_off, error=GuestError,
        )  # fmt: skip
        self._off = True

    def _bring_over(self) -> None:
        """Its disk where that moves along, then the guest; TrialError or MoveError when that fails or is not wanted any more."""
        request = self._request
        _stop_if_unwanted(request)
        if request.spec.storage != "shared":
            in_time = Deadline(request.spec.timeout_s)
            send(request, self._journal, lambda: _stop_if_unwanted(request, in_time))
            _stop_if_unwanted(request)
        # From here on the disk there may be the newer one.
        self._journal.mark(BOOT_THERE)
        self._begun_there = True
        with request.destination.hypervisor() as there:
            there.create(self._description)
        _wait_until_up(lambda seconds: self._wait_for_answer(request.destination, seconds), lambda: _stop_if_unwanted(request))
        self._arrived = True
        self._note_up_and_serve(request.destination)

    def _note_up_and_serve(self, host: Host) -> None:
        try:
            self._journal.mark("booted")
        finally:
            self._start_service(host)

    def _start_service(self, host: Host) -> None:
        with host.hypervisor() as connection:
            self._request.after_boot(self._agent(connection, host))

    def _wait_for_answer(self, host: Host, seconds: float) -> None:
        with host.hypervisor() as connection:
            self._agent(connection, host).wait(seconds)

    def _agent(self, connection: Hypervisor, host: Host) -> GuestAgent:
        booting = connection.find(self._request.what.uuid)
        if booting is None:
            raise MoveError(f"{self._request.what} ended while it booted on host {host.name}")
        return GuestAgent(booting)

    def _go_back(self, why: BaseException) -> str:
        """Boots it on its source: its disk is whole there. What else is to be said than why it goes back.

        UnsafeStateError when it is not certain that it is off on either host, or when it stays off.
        """
        guest, source = self._request.what, self._request.source
        if self._power_off is None:
            return ""  # it was never told
        # It may have booted there, and its service not started: what comes now is to bring it back.
        self._arrived = False
        self._see_that_it_is_off()
        self._end_it_there()
        try:
            self._create_again()
            _wait_until_up(lambda seconds: self._wait_for_answer(source, seconds), lambda: None)
        except (TrialError, MoveError) as error:
            with contextlib.suppress(EngineError):
                take_power_away(source, guest)
            raise UnsafeStateError(
                f"{guest} is off, and did not boot again on its source",
                details=f"{why}; {error}",
                resolution="mend what is named, and start it from its disk ('whimbrel recover')",
            ) from error
        try:
            self._note_up_and_serve(source)
        except (TrialError, MoveError) as error:
            return f"; its service did not start again on its source: {error}"
        return ""

    def _create_again(self) -> None:
        """Creates it on its source again, unless it is there already, as the way back was interrupted."""
        source, deadline = self._request.source, Deadline(END_S)
        while True:
            try:
                with source.hypervisor() as here:
                    if here.find(self._request.what.uuid) is None:
                        here.create(self._description)
                return
            except EngineError:
                # Its libvirtd may be starting again.
                if deadline.passed or source.gone:
                    raise
            pause(LOOK_EVERY_S)

    def _see_that_it_is_off(self) -> None:
        request = self._request
        if self._off:
            return
        try:
            self._wait_for_power_off(lambda: state_of(request.source, request.what) == "absent")
        except GuestError as error:
            raise UnsafeStateError(
                f"{request.what} was told to power off, and has not done so for {POWER_OFF_S:.0f} s: it still may",
                details=str(error),
                resolution="'whimbrel recover' waits for it and boots it again on its source; its console says what holds it up",
            ) from error

    def _end_it_there(self) -> None:
        """Ends what was begun at the destination: beside it the source's would be a second copy."""
        guest, destination = self._request.what, self._request.destination
        deadline = Deadline(END_S)
        while self._begun_there and not destination.gone:
            try:
                take_power_away(destination, guest)
                return
            except EngineError as error:
                if deadline.passed:
                    raise UnsafeStateError(
                        f"{guest} may still run on host {destination.name}, which does not answer",
                        details=str(error),
                        resolution="it was not booted on its source; 'whimbrel recover' looks again once that host answers",
                    ) from error
            pause(LOOK_EVERY_S)


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


def _wait_until_up(wait_for_answer: Callable[[float], None], stop_if_unwanted: Callable[[], None]) -> None:
    """Waits until the guest answers; GuestError or EngineError when it does not."""
    deadline = Deadline(BOOT_S)
    while True:
        try:
            wait_for_answer(min(LOOK_EVERY_S, deadline.left_s))
            return
        except (EngineError, GuestError):
            if deadline.passed:
                raise
        stop_if_unwanted()
        # A libvirtd that is not there refuses at once.
        pause(PAUSE_S)
