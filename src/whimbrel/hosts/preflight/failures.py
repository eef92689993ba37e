"""Which finding it is when a guest of ours did not start or move: by the failure that ``engines.failures`` tells. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from whimbrel.engines.failures import diagnose
from whimbrel.errors import EngineError
from whimbrel.hosts.by_uri import UriHost
from whimbrel.hosts.preflight.finding import Finding, Side, finding
from whimbrel.spec.fields import HostName
from whimbrel.spec.libvirt_uri import split_libvirt_uri

_DEFAULT_PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22, "libssh": 22, "libssh2": 22}
# The number in a sentence such as: unable to connect to server at '10.0.0.2:16514': Connection refused.
_CALLED = re.compile(r"(?:connect to server at|Failed to connect to) '.*?:(\d+)'")
# By the failure's name; which of the two ports was called tells the first from ``ports-closed``.
_UNREACHED = ("connection-refused", "no-route", "timed-out", "name-unknown", "libvirt-absent")
_NOT_LET_IN = (
    "ssh-host-key-changed", "ssh-host-key-unknown", "ssh-permission-denied", "ssh-no-helper", "authentication",
    "certificate-expired", "certificate-name", "certificate-unknown-ca", "certificate-missing", "certificate-refused",
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """The way from one host to the other, by their names in the file."""

    source: HostName
    destination: HostName
    to: UriHost

    @property
    def side(self) -> Side:
        """The side on which the cure is, in the words of findings."""
        return f"{self.source} to {self.destination}"

    @property
    def peer_port(self) -> int:
        """The port at which the destination's libvirt answers."""
        parts = split_libvirt_uri(self.to.peering.peer_uri)
        return parts.port or _DEFAULT_PORTS[parts.transport]

    @property
    def expected_name(self) -> str:
        """Whom the certificate of the destination's QEMU must be for."""
        return self.to.peering.certificate_name or self.to.address

    def finding(self, code: str, seen: str) -> Finding:
        """A finding on this way."""
        return finding(code, self.side, seen, uri=self.to.peering.peer_uri, to=self.destination, address=self.to.address)


def of_start(host: HostName, bridge: str, error: EngineError) -> Finding:
    """The finding where a guest did not start."""
    said = error.details or error.brief
    if _name_of(error) == "bridge-missing":
        return finding("bridge-missing", host, said, bridge=bridge)
    return finding("guest-refused", host, said)


def of_move(way: Way, encrypted: bool, error: EngineError) -> Finding:
    """The finding where a guest did not move."""
    name, said = _name_of(error), error.details or error.brief
    if name in _UNREACHED:
        called = _CALLED.search(said)
        for_memory = called is not None and int(called[1]) != way.peer_port
        return way.finding("ports-closed" if for_memory else "peer-unreachable", said)
    if name == "ports-used-up":
        return finding("ports-taken", way.destination, said)
    if name == "certificate-name" and encrypted and way.expected_name in said:
        return finding("certificate-name", way.destination, said, name=way.expected_name)
    return way.finding("peer-refused" if name in _NOT_LET_IN else "move-refused", said)


def _name_of(error: EngineError) -> str | None:
    known = diagnose(error)
    return known.name if known is not None else None
