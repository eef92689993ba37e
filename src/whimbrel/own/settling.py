"""Once it is certain where a guest runs: its claim is given back, and its description kept as it was, on one side only."""

from __future__ import annotations

import logging

from whimbrel.errors import EngineError
from whimbrel.own.claim import give_back
from whimbrel.own.guest import difference
from whimbrel.own.standing import OwnMove, Side

log = logging.getLogger(__name__)


def settle(move: OwnMove, where: str) -> list[str]:
    """Once it runs on one host alone: gives the claim back, and has it kept as it was, on one side only.

    The lines by which what is kept of it differs from before. What cannot be done is logged: the guest runs, which matters more.
    """
    side = move.destination if where == move.destination.name else move.source
    try:
        _give_back_where_it_is(move, side)
        if not move.persistent and not (where == move.destination.name and move.keep_there):
            return []
        if where == move.destination.name and move.keep_there:
            _forget_at_the_source(move)
        keeper = side if where == move.source.name or move.keep_there else move.source
        return _see_to_what_is_kept(move, keeper)
    except EngineError as error:
        log.warning("%s runs on host %s, but what is kept of it was not seen to: %s", move.guest, where, error)
        return []


def _give_back_where_it_is(move: OwnMove, side: Side) -> None:
    with side.host.hypervisor() as host:
        guest = host.find(move.guest.uuid)
        if guest is not None and guest.active:
            give_back(guest, move.token)


def _forget_at_the_source(move: OwnMove) -> None:
    """libvirt has done so by itself, unless it ended in the middle. Only once the destination keeps it, and runs it."""
    with move.destination.host.hypervisor() as there:
        arrived = there.find(move.guest.uuid)
        if arrived is None or not arrived.persistent or not arrived.executing:
            return
    with move.source.host.hypervisor() as here:
        left = here.find(move.guest.uuid)
        if left is not None and not left.active:
            left.undefine()


def _see_to_what_is_kept(move: OwnMove, keeper: Side) -> list[str]:
    with keeper.host.hypervisor() as host:
        guest = host.find(move.guest.uuid)
        if guest is None or not guest.persistent:
            log.warning("host %s does not keep the description of %s: it is gone when the guest is off", keeper.name, move.guest)
            return []
        if move.autostart and not guest.autostart:
            guest.set_autostart(True)
        # Of one that was not kept there is nothing to compare with.
        return difference(move.definition, guest.definition) if move.persistent else []
