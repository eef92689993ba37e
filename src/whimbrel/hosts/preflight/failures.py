"""Which finding it is when a guest of ours could not be started, or moved, by what libvirt said. Pure.

libvirt has few numbers and many sentences; each of these was seen (libvirt 11.3, QEMU 10.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from whimbrel.hosts.preflight.finding import Finding, Side, finding
from whimbrel.hosts.remote import RemoteHost
from whimbrel.spec.fields import HostName
from whimbrel.spec.libvirt_uri import split_libvirt_uri

_DEFAULT_PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22, "libssh": 22, "libssh2": 22}
# The number in a sentence such as: unable to connect to server at '10.0.0.2:16514': Connection refused.
_CALLED = re.compile(r"(?:connect to server at|Failed to connect to) '.*?:(\d+)'")
_NO_WAY = ("unable to resolve", "Could not resolve", "No route to host", "Connection refused", "Connection timed out")
_NOT_LET_IN = ("authentication", "Permission denied", "Host key verification", "ertificate", "TLS", "gnutls")
_OTHER_NAME = ("does not match the hostname", "doesn't match the hostname")


@dataclass(frozen=True)
class Way:
    """From one host to the other, by their names in the file."""

    source: HostName
    destination: HostName
    to: RemoteHost

    @property
    def side(self) -> Side:
        """As findings have it."""
        return f"{self.source} to {self.destination}"

    @property
    def peer_port(self) -> int:
        """At which the destination's libvirt answers."""
        parts = split_libvirt_uri(self.to.peer_uri)
        return parts.port or _DEFAULT_PORTS[parts.transport]

    @property
    def expected_name(self) -> str:
        """Whom the certificate of the destination's QEMU must be for."""
        return self.to.certificate_name or self.to.address

    def finding(self, code: str, seen: str) -> Finding:
        """A finding on this way."""
        return finding(code, self.side, seen, uri=self.to.peer_uri, to=self.destination, address=self.to.address)


def of_start(host: HostName, bridge: str, said: str) -> Finding:
    """When a guest did not start."""
    if "interface MTU" in said and "No such device" in said:
        return finding("bridge-missing", host, said, bridge=bridge)
    return finding("guest-refused", host, said)


def of_move(way: Way, encrypted: bool, said: str) -> Finding:
    """When a guest did not move."""
    called = _CALLED.search(said)
    if called is not None:
        return way.finding("peer-unreachable" if int(called[1]) == way.peer_port else "ports-closed", said)
    if "unused port" in said:
        return finding("ports-taken", way.destination, said)
    if encrypted and any(word in said for word in _OTHER_NAME) and way.expected_name in said:
        return finding("certificate-name", way.destination, said, name=way.expected_name)
    if any(word in said for word in _NO_WAY):
        return way.finding("peer-unreachable", said)
    if any(word in said for word in _NOT_LET_IN):
        return way.finding("peer-refused", said)
    return way.finding("move-refused", said)
