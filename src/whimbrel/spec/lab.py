"""A lab: two servers and a vantage on one machine, joined by links of a known rate."""

from __future__ import annotations

import ipaddress
from typing import Literal, Self

from pydantic import Field, model_validator

from whimbrel.spec.fields import Bytes, BytesPerSecond, Count, LabName, MisfitError, Network, Seconds, Spec

# What QEMU takes beyond the guest's memory: device state, migration buffers, and under emulation translated code.
QEMU_OVERHEAD_BYTES = 256 * 2**20


class ServerSpec(Spec):
    """A lab host; ``cpus`` are CPU numbers of the machine, None for the lab's default."""

    memory_bytes: Bytes = Field(alias="memory", default=6 * 2**30)
    cpus: tuple[Count, ...] | None = Field(default=None, min_length=1)


class VantageSpec(Spec):
    """Where viewers and probe run."""

    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)
    cpus: tuple[Count, ...] | None = Field(default=None, min_length=1)


class ServersSpec(Spec):
    """The two hosts a service moves between.

    Each has half of the machine's cores, whole ones and as many of each kind, unless its ``cpus`` are named; the vantage has all.
    """

    a: ServerSpec = ServerSpec()
    b: ServerSpec = ServerSpec()


class MigrationLinkSpec(Spec):
    """A link of its own for what a move sends, so that it does not compete with the service."""

    network: Network
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)


class LabSpec(Spec):
    """The lab file; addresses are taken from ``network`` in a fixed order.

    ``suite`` is the Debian whose QEMU and libvirt the servers run; the guests are the same with either.
    With ``tls`` the lab makes a private CA, and its libvirtds answer on TLS only. ``link_delay`` and ``link_loss`` (a share of
    frames, 0 to 0.5) are those of each server's link, each way; a kernel that cannot do them refuses the lab.
    """

    name: LabName = "lab"
    network: Network = "10.77.0.0/24"
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)
    servers: ServersSpec = ServersSpec()
    vantage: VantageSpec = VantageSpec()
    suite: Literal["trixie", "trixie-backports"] = "trixie"
    tls: bool = Field(default=False, strict=True)
    link_delay_s: Seconds = Field(alias="link_delay", default=0.0, le=10)
    link_loss: float = Field(default=0.0, ge=0, le=0.5, allow_inf_nan=False, strict=True)
    migration_link: MigrationLinkSpec | None = None

    @model_validator(mode="after")
    def _networks_differ(self) -> Self:
        if self.migration_link is not None:
            mine, other = ipaddress.ip_network(self.network), ipaddress.ip_network(self.migration_link.network)
            if mine.overlaps(other):
                raise MisfitError(f"{other} overlaps the lab's own network {mine}", "migration_link", "network")
        return self

    @model_validator(mode="after")
    def _cpus_are_not_negative(self) -> Self:
        members: dict[tuple[str, ...], ServerSpec | VantageSpec] = {
            ("servers", "a"): self.servers.a,
            ("servers", "b"): self.servers.b,
            ("vantage",): self.vantage,
        }
        for key, member in members.items():
            if member.cpus and min(member.cpus) < 0:
                raise MisfitError(f"{min(member.cpus)} is no CPU number", *key, "cpus")
        return self

    def address(self, position: int) -> str:
        """The address at ``position`` in the lab's network, without a prefix length."""
        return str(ipaddress.ip_network(self.network)[position])

    @property
    def prefix_length(self) -> int:
        """The network's prefix length: 24 for 10.77.0.0/24."""
        return ipaddress.ip_network(self.network).prefixlen
