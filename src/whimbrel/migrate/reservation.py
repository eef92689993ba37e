"""Setting aside what a guest needs on its destination, so that two moves cannot count on the same memory.

Bookings of one host are a small file under a lock; one whose claimant has died no longer counts. Guests that already run
there are counted by what the host says of itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from whimbrel.durable import put_aside, replace_text
from whimbrel.errors import ReservationError
from whimbrel.hosts.host import Host
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES
from whimbrel.system.folders import bookings_folder, make_private
from whimbrel.system.process import ProcessId
from whimbrel.units import format_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Booking:
    """What one claimant has set aside on a host."""

    guest: str
    memory_bytes: int
    disk_bytes: int
    pid: int
    start_ticks: int

    @property
    def valid(self) -> bool:
        """Whether its claimant still lives."""
        return ProcessId(self.pid, self.start_ticks).alive


# Hosts of which was said that they may lack memory: a campaign's moves say it once.
warned: set[str] = set()
_BOOKINGS = TypeAdapter(list[Booking])


@contextmanager
def reserved(host: Host, guest: str, memory_bytes: int, disk_bytes: int) -> Iterator[Booking]:
    """Books memory (QEMU's overhead included) and disk on the host; ReservationError when they are not free."""
    me = ProcessId.of(os.getpid())
    assert me is not None
    booking = Booking(guest, memory_bytes + QEMU_OVERHEAD_BYTES, disk_bytes, me.pid, me.start_ticks)
    with _bookings(host) as others:
        _check(host, booking, others)
        others.append(booking)
    try:
        yield booking
    finally:
        # A booking that stays ends with this process: no reason to lose what the move has come to.
        with contextlib.suppress(OSError), _bookings(host) as others:
            if booking in others:
                others.remove(booking)


def _check(host: Host, wanted: Booking, others: list[Booking]) -> None:
    free = host.capacity()
    for what, asked, there, booked in (
        ("memory", wanted.memory_bytes, free.memory_bytes, [other.memory_bytes for other in others]),
        ("disk", wanted.disk_bytes, free.disk_bytes, [other.disk_bytes for other in others]),
    ):
        if there is None:
            continue
        available = there - sum(booked)
        if asked > available:
            claims = ", ".join(
                f"{other.guest} (process {other.pid}): {format_bytes(claim)}" for other, claim in zip(others, booked, strict=True)
            )
            raise ReservationError(
                f"host {host.name} cannot set aside {format_bytes(asked)} of {what} for {wanted.guest}",
                details=f"free: {format_bytes(max(0, available))}; booked by others: {claims or 'nothing'}",
                resolution="free some on the host, or wait for the other move; nothing was moved",
            )
    if free.sure_memory_bytes is not None:
        sure_bytes = max(0, free.sure_memory_bytes - sum(other.memory_bytes for other in others))
        if wanted.memory_bytes > sure_bytes and host.libvirt_uri not in warned:
            warned.add(host.libvirt_uri)
            log.warning(
                "host %s may lack memory: %s are set aside for %s, of which %s are free for sure; the rest is page cache, which"
                " is given back when asked for, or shared memory, which is not: libvirt does not tell them apart",
                host.name, format_bytes(wanted.memory_bytes), wanted.guest, format_bytes(sure_bytes),
            )  # fmt: skip


@contextmanager
def _bookings(host: Host) -> Iterator[list[Booking]]:
    """The host's valid bookings, under its lock; what the caller makes of the list is what is kept."""
    folder = bookings_folder()
    make_private(folder)
    name = hashlib.sha256(host.libvirt_uri.encode()).hexdigest()[:16]
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / f"{name}.json"
        bookings = [booking for booking in _read(file) if booking.valid]
        yield bookings
        if bookings:
            replace_text(file, json.dumps([asdict(booking) for booking in bookings]))
        else:
            file.unlink(missing_ok=True)


def _read(file: Path) -> list[Booking]:
    """One that is damaged is put aside: bookings die with their claimants, and a power cut has ended those."""
    if not file.exists():
        return []
    try:
        return _BOOKINGS.validate_json(file.read_bytes())
    except ValidationError as error:
        aside = put_aside(file)
        log.warning("%s was damaged (%s) and is now %s; what it booked no longer counts", file, error.errors()[0]["msg"], aside)
        return []
