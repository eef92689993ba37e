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
from dataclasses import replace

from whimbrel.engines.hypervisor import Guest, Hypervisor, MoveOptions
from whimbrel.errors import EngineError, MoveError, ReservationError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.attempt import Attempt
from whimbrel.migrate.processors import refuse_lesser_processor
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, fit_for_both, make_room
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import TechniqueName, whole_mib_per_s

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
            reserved(destination, request.what.name, request.memory_bytes, disk_to_book_bytes(request, disk)) as booking,
            request.source.hypervisor() as source,
            destination.hypervisor() as at_destination,
        ):
            journal.mark("reserved", memory_bytes=booking.memory_bytes, disk_bytes=booking.disk_bytes)
            _refuse_what_it_cannot(source, request)
            guest = find_running(source, request)
            make_room(request, disk, journal)
            attempt = Attempt(guest, request, lambda: _options_with_disk(request, guest), journal)
            source.on_event(attempt.on_event)
            attempt.run()
            return MoveReport(
                called_ns=called_ns,
                returned_ns=attempt.returned_ns,
                result=attempt.result,
                error=attempt.error,
                reserved_memory_bytes=booking.memory_bytes,
                reserved_disk_bytes=booking.disk_bytes,
                completed=completed_job(at_destination, request.what) if attempt.result == "moved" else None,
            )


def _refuse_what_it_cannot(source: Hypervisor, request: MoveRequest) -> None:
    """ReservationError when the source's hypervisor has no such move."""
    able, spec = source.abilities, request.spec
    lacks = [f"the technique {spec.technique}"] if spec.technique not in able.techniques else []
    lacks += ["moving a disk along"] if spec.storage != "shared" and not able.moves_disk else []
    if lacks:
        has = ", ".join(sorted(able.techniques)) or "none that moves a running guest"
        raise ReservationError(
            f"the hypervisor of host {request.source.name} cannot do this: {' and '.join(lacks)}",
            resolution=f"nothing was moved; its techniques are: {has}",
        )


def options_of(request: MoveRequest, resume: bool = False) -> MoveOptions:
    """What libvirt is told; with ``resume``, to go on with a post-copy move that has stopped in the middle."""
    spec = request.spec
    bandwidth = spec.bandwidth_set_bytes_per_s
    return MoveOptions(
        peer_uri=request.destination.peering.peer_uri,
        move_uri=request.destination.peering.move_uri,
        bandwidth_mib_per_s=whole_mib_per_s(bandwidth) if bandwidth is not None else _AS_FAST_AS_IT_GOES_MIB_PER_S,
        live=spec.technique != "paused",
        post_copy=spec.ends_as_post_copy,
        auto_converge=spec.auto_converge,
        compression=None if spec.compression == "none" else spec.compression,
        connections=spec.connections,
        tls=spec.tls,
        certificate_name=request.destination.peering.certificate_name,
        storage=spec.storage,
        resume=resume,
        persist=request.persist,
        undefine_source=request.undefine_source,
    )


def _options_with_disk(request: MoveRequest, guest: Guest) -> MoveOptions:
    """With the guest's description on the destination, where it may be another; else libvirt sends its own."""
    if request.spec.storage == "shared":
        return options_of(request)
    return replace(options_of(request), destination_xml=fit_for_both(request, guest.arriving_description))


def find_running(source: Hypervisor, request: MoveRequest) -> Guest:
    """The guest on its source; MoveError when it does not run there."""
    guest = source.find(request.what.uuid)
    if guest is None or not guest.executing:
        raise MoveError(f"{request.what} does not run on host {request.source.name}", resolution="start it there first")
    return guest


def completed_job(destination: Hypervisor, guest: GuestIdentity) -> dict[str, int] | None:
    """The job's statistics; None when the destination's libvirt, or the guest, has gone meanwhile: that is found out later."""
    with contextlib.suppress(EngineError):
        arrived = destination.find(guest.uuid)
        return arrived.completed_job_stats() if arrived is not None else None
    return None
