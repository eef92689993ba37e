"""The way from one host to the other, tried with small guests of ours: ports, libvirtd to libvirtd, certificates, a move."""

from __future__ import annotations

import threading
from collections.abc import Callable

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Guest, MoveOptions
from whimbrel.engines.qemu_sockets import QemuSockets
from whimbrel.errors import EngineError, RefusedError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.failures import Way, of_move
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.system.deadline import Deadline, pause

# libvirt's own: migration_port_min and migration_port_max of its qemu.conf.
_PORTS = range(49152, 49216)
# Of them the first that are free, which moves take, and the last: a firewall may have opened too few.
_FIRST = 3
# A packet that was lost is sent again after 1 s and after 3 s.
CONNECT_S = 5.0
# libvirt itself waits two minutes for a host that does not answer.
MOVE_S = 30.0
_LOOK_EVERY_S = 0.1
# Such a guest has next to nothing to send; it is no limit of QEMU's.
_BANDWIDTH_MIB_PER_S = 32


def try_ports(way: Way, caller: Guest, listener: Guest) -> list[Finding]:
    """Lets QEMU on the destination wait at ports for moves, and QEMU on the source connect to them."""
    listening, calling = QemuSockets(listener), QemuSockets(caller)
    try:
        ports = _listen(listening)
        if not ports:
            return [finding("ports-taken", way.destination, f"all of {_PORTS[0]} to {_PORTS[-1]} are in use")]
        for port in ports:
            calling.connect(way.to.address, port)
        deadline = Deadline(CONNECT_S)
        while not (reached := calling.connected()) >= set(ports) and not deadline.passed:
            pause(_LOOK_EVERY_S)
        return _of_ports(way, ports, reached)
    except RefusedError as error:
        return [way.finding("way-unseen", f"the ports could not be tried: {error.details or error.brief}")]
    finally:
        calling.close()
        listening.close()


def _listen(sockets: QemuSockets) -> list[int]:
    found: list[int] = []
    for port in _PORTS:
        if len(found) < _FIRST and sockets.listen(port):
            found.append(port)
    for port in reversed(_PORTS):
        if port in found or sockets.listen(port):
            return sorted({*found, port})
    return found


def _of_ports(way: Way, ports: list[int], reached: set[int]) -> list[Finding]:
    """Pure. A move takes the first port that is free."""
    closed = [port for port in ports if port not in reached]
    if not closed:
        return []
    said = ", ".join(map(str, closed))
    seen = f"QEMU on host {way.source} could not connect to {way.to.address} at {said} within {CONNECT_S:.0f} s"
    seen += f"; at {', '.join(map(str, sorted(reached)))} it could" if reached else ""
    return [way.finding("ports-closed" if ports[0] in closed else "ports-partly-closed", seen)]


def try_move(way: Way, source_uri: str, guest: GuestIdentity, encrypted: bool) -> tuple[bool, list[Finding]]:
    """Moves one of our guests, encrypted where moves of the file are; whether it has arrived, and what stood in its way.

    Where encryption alone fails it is moved without, so that all else has been tried.
    """
    found = _move(way, source_uri, guest, encrypted)
    if found is None:
        return True, []
    if not encrypted or found.code not in ("certificate-name", "peer-refused", "move-refused"):
        return False, [found]
    plain = _move(way, source_uri, guest, encrypted=False)
    if plain is not None:
        return False, [plain]
    return True, [found if found.code == "certificate-name" else way.finding("tls-refused", found.seen)]


def _move(way: Way, source_uri: str, guest: GuestIdentity, encrypted: bool) -> Finding | None:
    """What stood in its way; None when it was moved. A call that does not return is left to the end of its guest."""
    options = MoveOptions(
        peer_uri=way.to.peering.peer_uri,
        move_uri=way.to.peering.move_uri,
        bandwidth_mib_per_s=_BANDWIDTH_MIB_PER_S,
        tls=encrypted,
        certificate_name=way.to.peering.certificate_name,
    )
    call = _Call(source_uri, guest, lambda guest: guest.migrate(options))
    call.start()
    call.join(MOVE_S)
    if call.is_alive():
        # Ports were tried before: what is waited for is the other libvirtd. Only the connection of this call is held up.
        return way.finding("peer-unreachable", f"libvirt on host {way.source} did not get on within {MOVE_S:.0f} s")
    return of_move(way, encrypted, call.error) if call.error is not None else None


def try_peer(way: Way, source_uri: str, guest: Guest) -> list[Finding]:
    """Asks libvirt at the source to move a small guest of ours to where nothing can be sent: it calls the destination's, which
    refuses that. What it met with before it came so far.
    """
    identity = GuestIdentity(guest.name, guest.uuid, "", "")
    call = _Call(source_uri, identity, lambda guest: guest.call_peer(way.to.peering.peer_uri))
    call.start()
    call.join(MOVE_S)
    if call.is_alive():
        return [way.finding("peer-unreachable", f"libvirt on host {way.source} did not get on within {MOVE_S:.0f} s")]
    if call.error is None:
        return []
    found = of_move(way, False, call.error)
    # Nothing else was asked of it than to call.
    return [found if found.code in ("peer-unreachable", "peer-refused") else way.finding("way-unseen", found.seen)]


class _Call(threading.Thread):
    """A call to libvirt that may not return for minutes, on a connection of its own."""

    def __init__(self, uri: str, guest: GuestIdentity, what: Callable[[Guest], None]) -> None:
        super().__init__(name="probe-move", daemon=True)
        self._uri = uri
        self._guest = guest
        self._what = what
        self.error: EngineError | None = None

    def run(self) -> None:
        """Makes the call; what it was answered is kept for whoever waits."""
        try:
            with hypervisor_at(self._uri) as connection:
                found = connection.find(self._guest.uuid)
                if found is None:
                    raise EngineError(f"{self._guest} is not there any more")
                self._what(found)
        except EngineError as error:
            self.error = error
        except BaseException as error:  # a thread has nobody to raise to: it ends the call as a failure
            self.error = EngineError("the call that moves the guest broke", details=repr(error))
