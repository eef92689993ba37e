"""The network of a lab's guests: who has which address, where viewers run, and the rate of the servers' links."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.hosts.host import SamplePoints
from whimbrel.hosts.identity import FIRST_GUEST, GuestIdentity, identity_in_lab
from whimbrel.spec.fields import HostName
from whimbrel.spec.lab import LabSpec
from whimbrel.system import links, netns
from whimbrel.system.cgroups import Cgroup

BRIDGE = "br0"
# From one guest to the next; its carriers follow it.
_GROUP = 10


class LabVantage:
    """A client network of the lab. Implements ``hosts.host.Vantage``."""

    def __init__(self, netns_name: str, cgroup: Cgroup) -> None:
        self._netns = netns_name
        self._cgroup = cgroup

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command that runs ``argv`` in the client network."""
        return [*netns.inside(self._netns), *argv]

    def sample_points(self) -> SamplePoints | None:
        """Where the host sampler looks; it runs in this network itself."""
        return SamplePoints(host="vantage", cgroup=self._cgroup.name, init_pid=None)

    @property
    def procs_files(self) -> Sequence[Path]:
        """What a process writes itself into to be counted here."""
        return self._cgroup.procs_files


class LabNetwork:
    """The network of guest ``number`` (from 1) of a lab. Implements ``hosts.site.GuestNetwork``."""

    bridge = BRIDGE

    def __init__(self, spec: LabSpec, number: int, vantage: LabVantage) -> None:
        self.prefix_length = spec.prefix_length
        self.vantage = vantage
        self._spec = spec
        self._number = number
        self.guest = self._identity("guest", 0)

    @property
    def carriers(self) -> Mapping[HostName, GuestIdentity]:
        """Named by their server's place in the file: whatever servers are called, labs share saved states."""
        return {
            name: self._identity(f"carrier-{'abcdefgh'[position]}", 1 + position)
            for position, name in enumerate(self._spec.servers)
        }

    def _identity(self, role: str, position: int) -> GuestIdentity:
        """Of the guest, or of what belongs to it, by its position in the guest's addresses; UsageError when they are used up."""
        spec = self._spec
        at = FIRST_GUEST + _GROUP * (self._number - 1) + position
        if at + 1 >= ipaddress.ip_network(spec.network).num_addresses:
            raise UsageError(
                f"the network {spec.network} of the lab {spec.name!r} has no address for one more guest",
                resolution="'whimbrel undeploy' one, or give 'lab.network' more addresses, such as 10.77.0.0/24",
            )
        return identity_in_lab(role if self._number == 1 else f"{role}-{self._number}", at, spec.address(at))

    def shape_links(self, rate_bytes_per_s: float) -> None:
        """Gives each server's link this rate, each way, from now on."""
        for member in self._spec.servers:
            links.shape(netns_of(self._spec, "fabric"), f"to-{member}", rate_bytes_per_s)
            links.shape(netns_of(self._spec, member), "eth0", rate_bytes_per_s)


def netns_of(spec: LabSpec, member: str) -> str:
    """The network namespace of a member of the lab."""
    return f"whimbrel-{spec.name}-{member}"
