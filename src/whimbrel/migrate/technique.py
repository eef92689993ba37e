"""What a technique is: a way to move a guest from one host to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import WhimbrelError
from whimbrel.guests.carrier import Carrier
from whimbrel.hosts.host import Host, Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import OwnDisk
from whimbrel.spec.migration import MigrationSpec


class Journal(Protocol):
    """Where a technique writes down what it does, as it does it."""

    def mark(self, name: str, **data: Any) -> int:
        """Writes down a step that is about to be taken; returns its time on the monotonic clock, in ns. OSError when it cannot be
        written: then it must not be taken.
        """

    def note(self, name: str, **data: Any) -> int:
        """As ``mark``, of what has happened already: its time is known also when there is no room left to write it down."""

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        """Writes down what the carrier on a host says, with its own stamp."""


@dataclass(frozen=True)
class MoveRequest:
    """What goes where, and how.

    ``what`` moves: a VM, or a container. ``carriers`` are what a container moves between, source and destination; ``disks`` are
    a VM's disk on source and destination, when it moves along. ``after_boot`` starts the service again after a technique that
    boots a VM anew. ``persist`` has the destination keep the VM's description, ``undefine_source`` the source forget it.
    ``told_to_abort`` is asked again and again whether the move is to end where it began; it is heeded until the point of no
    return, and not after it. ``ended`` says how it has ended by itself, None as long as it has not: then nobody waits for
    a copy to go on.
    """

    what: GuestIdentity
    source: Host
    destination: Host
    memory_bytes: int
    disk_bytes: int
    spec: MigrationSpec
    carriers: tuple[Carrier, Carrier] | None = None
    disks: tuple[OwnDisk, OwnDisk] | None = None
    after_boot: Callable[[GuestAgent], None] = lambda agent: None
    persist: bool = False
    undefine_source: bool = False
    told_to_abort: Callable[[], bool] = lambda: False
    ended: Callable[[], str | None] = lambda: None

    @property
    def why_abort(self) -> str | None:
        """Why the move is to end where it began; None as long as it is to go on."""
        return "it was asked for" if self.told_to_abort() else self.ended()

    @property
    def places(self) -> Sequence[Place]:
        """Where a copy of it may be; the source comes first."""
        return self.carriers or (self.source, self.destination)


@dataclass(frozen=True)
class MoveReport:
    """How a move went; times on the monotonic clock. ``completed`` are libvirt's statistics of the job, as reported.

    ``error`` is why it did not move. ``reserved_memory_bytes`` None: nobody counts the memory of what moves, so its room was not
    checked.
    """

    called_ns: int
    returned_ns: int
    result: Literal["moved", "failed", "aborted"]
    error: WhimbrelError | None
    reserved_memory_bytes: int | None
    reserved_disk_bytes: int
    completed: dict[str, int] | None


class Technique(Protocol):
    """A way to move a guest; ``moves`` says what is moved: the VM, or the container in it."""

    name: str
    moves: str

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Moves the guest. A failed move is reported, not raised; ReservationError when it did not begin, UnsafeStateError when
        it has not ended though it should have.
        """
