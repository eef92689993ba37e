"""The way from one host to the other, tried with a small guest of ours on each: without a disk, never executing, gone at the end.

The source's QEMU calls the ports at which the destination's waits; the source's libvirt is asked to move our guest to where
nothing can be sent, so that it gets as far as the destination's libvirt and no further; and each QEMU stamps its host's clock.

What we start is written down for the user before it is there. After a kill the next try removes it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from whimbrel.durable import replace_text
from whimbrel.engines.capabilities import Accelerator, machine_of
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import EngineError, RefusedError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.failures import Way
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.hosts.preflight.guests import guest_xml
from whimbrel.hosts.preflight.state import examine_post_copy
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.hosts.preflight.ways import try_peer, try_ports
from whimbrel.observe.host_clock import offset_from
from whimbrel.own.standing import Side
from whimbrel.system.folders import make_private, user_state

log = logging.getLogger(__name__)

_TRIES = 5
# Guests set their clocks by their host's, and logs are compared.
MOST_APART_S = 1.0
_NAME = "whimbrel-try-"


def try_way(
    sides: tuple[Side, Side], both: tuple[Hypervisor, Hypervisor], accelerator: Accelerator, post_copy: bool
) -> list[Finding]:
    """What stands in the way from the first host to the second; all that could not be tried is among it.

    ``post_copy``: memory is to follow the guest.
    """
    way = Way(sides[0].name, sides[1].name, sides[1].host)
    with ExitStack() as held:
        started = []
        for side, host in zip(sides, both, strict=True):
            try:
                started.append(_start(held, side, host, accelerator))
            except RefusedError as error:
                why = error.details or error.brief
                return [way.finding("way-unseen", f"no small guest starts on host {side.name}: {why}")]
        caller, listener = started
        found = try_ports(way, caller, listener)
        found += try_peer(way, sides[0].uri, caller)
        found += examine_post_copy(sides[1].name, listener, None, post_copy)
        return found + _clocks(sides, both, (caller, listener))


def _start(held: ExitStack, side: Side, host: Hypervisor, accelerator: Accelerator) -> Guest:
    """As guests there are, or else emulated: the way between the hosts is the same. RefusedError when neither starts."""
    try:
        return held.enter_context(_small_guest(side, host, accelerator))
    except RefusedError:
        if accelerator == "tcg":
            raise
        log.debug("no small guest starts in KVM on host %s", side.name, exc_info=True)
        return held.enter_context(_small_guest(side, host, "tcg"))


def _clocks(sides: tuple[Side, Side], both: tuple[Hypervisor, Hypervisor], guests: tuple[Guest, Guest]) -> list[Finding]:
    offsets = []
    names = " and ".join(side.name for side in sides)
    for side, host, guest in zip(sides, both, guests, strict=True):
        try:
            offsets.append(offset_from(f"host {side.name}", *host.clock_stamps(guest, _TRIES)))
        except EngineError as error:
            return [finding("clocks-unseen", names, error.details or error.brief)]
    apart_s = (offsets[1].offset_ns - offsets[0].offset_ns) / 1e9
    error_s = sum(each.offset_error_ns for each in offsets) / 1e9
    if abs(apart_s) - error_s <= MOST_APART_S:
        return []
    seen = f"that of host {sides[1].name} is {apart_s:+.1f} s from that of host {sides[0].name}"
    return [finding("clocks-apart", names, seen)]


@contextmanager
def _small_guest(side: Side, host: Hypervisor, accelerator: Accelerator) -> Iterator[Guest]:
    """Started and standing still; gone at the end. RefusedError when the host does not start it."""
    _remove_left(side, host)
    number = str(uuid.uuid4())
    identity = GuestIdentity(f"{_NAME}{number[:8]}", number, "", "")
    machine = machine_of(host, accelerator)
    noted = _folder(side) / number
    make_private(noted.parent.parent)
    make_private(noted.parent)
    replace_text(noted, side.uri + "\n")
    try:
        yield host.create(guest_xml(identity, Wanted(accelerator, ""), machine, on_bridge=False), paused=True)
    finally:
        _remove(host, noted)


def _remove_left(side: Side, host: Hypervisor) -> None:
    """What an earlier try could not remove."""
    folder = _folder(side)
    for noted in folder.iterdir() if folder.is_dir() else ():
        log.warning("removing what an earlier try left on host %s", side.name)
        _remove(host, noted)


def _remove(host: Hypervisor, noted: Path) -> None:
    """By its UUID alone; it stays written down where the host does not answer."""
    try:
        found = host.find(noted.name)
        if found is not None:
            found.destroy()
    except EngineError as error:
        log.warning("a small guest of ours (UUID %s) may still be on %s: %s", noted.name, host.uri, error.brief)
        return
    with suppress(OSError):
        noted.unlink()


def _folder(side: Side) -> Path:
    """One for each host, by its URI."""
    return user_state() / "tried" / uuid.uuid5(uuid.NAMESPACE_URL, side.uri).hex
