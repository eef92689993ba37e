"""A host of which we have the URI of its libvirt, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import CapabilityError
from whimbrel.hosts.host import Capacity, GuestState, Peering, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, HostIdentity
from whimbrel.hosts.states import state_told_by
from whimbrel.spec.libvirt_uri import is_address, split_libvirt_uri, without_asking
from whimbrel.system import memory


class UriHost:
    """A host known by its libvirt URI, and how a peer reaches it. Implements ``hosts.host.Host``.

    ``peer_uri`` is how another host reaches its libvirt; None: as we do, but with the other host's own certificates and sockets.
    """

    def __init__(
        self, name: str, uri: str, address: str, peer_uri: str | None = None, certificate_name: str | None = None
    ) -> None:
        self.name = name
        self.address = address
        self._uri = uri
        self._peer_uri = peer_uri
        self._certificate_name = certificate_name
        self.access = AccessByLibvirt(name, uri)

    @property
    def libvirt_uri(self) -> str:
        """The URI by which we reach it."""
        return self._uri

    def hypervisor(self) -> Hypervisor:
        """Connects to what answers at its URI."""
        return hypervisor_at(self.libvirt_uri)

    @property
    def peering(self) -> Peering:
        """Peers reach it as we do, or as was given; nobody can be asked there."""
        peer_uri = without_asking(self._peer_uri or urlunsplit(urlsplit(self._uri)._replace(query="")))
        move_uri = f"tcp://[{self.address}]" if ":" in self.address else f"tcp://{self.address}"
        return Peering(peer_uri, move_uri, self._name_in_certificate(peer_uri))

    def identity(self) -> HostIdentity:
        """Which machine it is, as its libvirt says."""
        with self.hypervisor() as connection:
            return HostIdentity(*connection.host_identity())

    def _name_in_certificate(self, peer_uri: str) -> str | None:
        """What was given; else, for a host with an address only, the name by which its libvirt is reached over TLS.

        That name is in the certificate of its libvirt already, and QEMU's is usually the same. A name that only ssh knows is not.
        """
        if self._certificate_name is not None or not is_address(self.address):
            return self._certificate_name
        peer = split_libvirt_uri(peer_uri)
        return peer.host if peer.transport == "tls" and not is_address(peer.host) else None

    @property
    def gone(self) -> bool:
        """A host of somebody else's that does not answer may only be silent."""
        return False

    def state_of(self, what: GuestIdentity) -> GuestState:
        """What its libvirt says of the guest."""
        return state_told_by(self.hypervisor(), what)

    def capacity(self) -> Capacity:
        """Free memory as its libvirt says, or the kernel where it is this machine's."""
        with self.hypervisor() as connection:
            told = connection.memory()
        if self._is_here and told.total_bytes == memory.total_bytes():
            return Capacity(memory.available_bytes(), None)
        return Capacity(told.free_at_most_bytes, None, told.free_for_sure_bytes)

    @property
    def _is_here(self) -> bool:
        """Whether its libvirtd is reached by a socket of this machine; another machine's may be passed on to one."""
        return split_libvirt_uri(self.libvirt_uri).local


class AccessByLibvirt:
    """What libvirt tells of a host: little beside its guests. Implements ``hosts.host.Access``."""

    def __init__(self, name: str, uri: str) -> None:
        self._name = name
        self._uri = uri

    def sample_points(self) -> SamplePoints | None:
        """Its libvirt is all that can be asked."""
        return None

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """Raises CapabilityError: libvirt runs no commands."""
        raise CapabilityError(f"{argv[0]} cannot be run on host {self._name}, of which we have only the URI of its libvirt")

    def process_of(self, guest: GuestIdentity) -> int | None:
        """None: QEMU's process is on the host, not here."""
        return None

    @property
    def shares_our_clock(self) -> bool:
        """It is False: the host's clocks are its own."""
        return False

    @property
    def unmeasured(self) -> dict[str, str]:
        """What libvirt does not tell."""
        found = {
            f"network of host {self._name}": "libvirt tells the traffic of guests, not that of the host",
            f"console of the guest on host {self._name}": "it is written to a file on the host, which we cannot read",
        }
        if not split_libvirt_uri(self._uri).local:
            # Where it is here the kernel says what is free.
            found[f"shared memory of host {self._name}"] = "libvirt counts it as page cache: what is free is an upper bound"
        return found

    def logs(self) -> dict[str, str]:
        """Says where the logs lie: on the host, where we cannot read them."""
        return {f"{self._name}-logs.log": f"the logs of {self._uri} lie on the host: /var/log/libvirt\n"}
