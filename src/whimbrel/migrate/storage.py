"""A disk that moves along: what it needs on the destination, an image for it there, and in the end one copy only."""

from __future__ import annotations

from collections.abc import Callable

from whimbrel.errors import MoveError, ReservationError, ToolError
from whimbrel.guests.domain_xml import with_backing_left_open
from whimbrel.hosts.site import DiskFacts
from whimbrel.migrate.technique import Journal, MoveRequest

# The step before the destination has an image of this move's own.
MAKING_DISK = "making disk"


def disk_to_move(request: MoveRequest) -> DiskFacts | None:
    """What the disk is before it moves along; None when both hosts see it."""
    if request.spec.storage == "shared":
        return None
    if request.disks is None:
        raise MoveError(
            f"it is not known where the disk of {request.what} lies on each host",
            resolution="set 'migration.storage' to shared when both hosts see it",
        )
    return request.disks[0].facts()


def disk_to_book_bytes(request: MoveRequest, disk: DiskFacts | None) -> int:
    """What the destination must have free: all that the guest could write, or what lies over the image that both hosts have.

    A disk of 3 GiB that holds 40 MiB over its base: 3 GiB for ``full``, 40 MiB for ``incremental``.
    """
    if disk is None:
        return request.disk_bytes
    return disk.size_bytes if request.spec.storage == "full" else disk.held_bytes


def make_room(request: MoveRequest, disk: DiskFacts | None, journal: Journal) -> None:
    """Makes the empty image on the destination that the disk is copied into; ReservationError when that fails, or when there is
    one: it may be the newest, and none but its owner can tell.

    libvirt could make one itself only for ``full``, and only within a storage pool.
    """
    if disk is None or request.disks is None:
        return
    there, host = request.disks[1], request.destination.name
    if there.there:
        raise ReservationError(
            f"host {host} already has an image of the disk of {request.what}, which this move has not made",
            details=f"{there.path} on host {host}; a recovery keeps both when either may be the newest",
            resolution="look at both, then rename or remove that one on that host; nothing was moved, and it is as it was",
        )
    # Said before it is made: what this move has not made, nobody may remove.
    journal.mark(MAKING_DISK)
    try:
        there.make(disk, over_backing=request.spec.storage == "incremental")
    except ToolError as error:
        raise ReservationError(
            f"host {request.destination.name} could not make an image for the disk of {request.what}",
            details=str(error),
            resolution="look at the folder of that host; nothing was moved",
        ) from error
    journal.mark("disk made ready", size_bytes=disk.size_bytes, held_bytes=disk.held_bytes)


def send(request: MoveRequest, journal: Journal, stop_if_unwanted: Callable[[], None]) -> None:
    """Copies the disk of a guest that is off, into the image that was made for it; see ``OwnDisk.fetch``."""
    if request.disks is None:
        return
    at_source, at_destination = request.disks
    whole = request.spec.storage == "full"
    journal.mark("disk copy begun")
    with at_source.served(whole) as url:
        at_destination.fetch(url, whole, request.spec.bandwidth_bytes_per_s, stop_if_unwanted)
    journal.mark("disk copied", held_bytes=at_destination.facts().held_bytes)


def fit_for_both(request: MoveRequest, description: str) -> str:
    """The guest's description as either host may start it: a disk that moved as a whole no longer lies over what it lay over."""
    if request.spec.storage == "shared" or request.disks is None:
        return description
    return with_backing_left_open(description, request.disks[1].path)


def keep_only_copy(request: MoveRequest, where: str, made: bool) -> None:
    """Removes the disk's image on the host where the guest is not; only for a guest that runs on ``where`` and nowhere else.

    ``made`` says whether the move has made the one on the destination. If not, both are as they were before it, and stay.
    """
    if not made or request.spec.storage == "shared" or request.disks is None:
        return
    at_source, at_destination = request.disks
    (at_source if where == request.destination.name else at_destination).remove()
