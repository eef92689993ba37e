"""A lab: servers and a vantage on one machine, joined by links of a known rate."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from whimbrel.spec.fields import Bytes, BytesPerSecond, Count, HostName, LabName, MisfitError, Network, Seconds, Spec

# What QEMU takes beyond the guest's memory: device state, migration buffers, and under emulation translated code.
QEMU_OVERHEAD_BYTES = 256 * 2**20
_USUAL_SERVERS = ("a", "b")


class ServerSpec(Spec):
    """A lab host; ``cpus`` are CPU numbers of the machine, None for the lab's default."""

    memory_bytes: Bytes = Field(alias="memory", default=6 * 2**30)
    cpus: tuple[Count, ...] | None = Field(default=None, min_length=1)


class VantageSpec(Spec):
    """Where viewers and probe run."""

    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)
    cpus: tuple[Count, ...] | None = Field(default=None, min_length=1)


class MigrationLinkSpec(Spec):
    """A link of its own for what a move sends, so that it does not compete with the service."""

    network: Network
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)


class LabSpec(Spec):
    """The lab file; addresses are taken from ``network`` in a fixed order.

    ``servers`` are its hosts by name, two to eight; a campaign moves between the first two. Who names only one of ``a`` and ``b``
    gets the other as it usually is.
    ``suite`` is the Debian whose QEMU and libvirt the servers run; the guests are the same with either.
    With ``tls`` the lab makes a private CA, and its libvirtds answer on TLS only. ``link_delay`` and ``link_loss`` (a share of
    frames, 0 to 0.5) are those of each server's link, each way; a kernel that cannot do them refuses the lab.
    """

    name: LabName = "lab"
    network: Network = "10.77.0.0/24"
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)
    servers: dict[HostName, ServerSpec] = Field(
        default={name: ServerSpec() for name in _USUAL_SERVERS}, min_length=2, max_length=8
    )
    vantage: VantageSpec = VantageSpec()
    suite: Literal["trixie", "trixie-backports"] = "trixie"
    tls: bool = Field(default=False, strict=True)
    link_delay_s: Seconds = Field(alias="link_delay", default=0.0, le=10)
    link_loss: float = Field(default=0.0, ge=0, le=0.5, allow_inf_nan=False, strict=True)
    migration_link: MigrationLinkSpec | None = None

    @field_validator("servers", mode="before")
    @classmethod
    def _with_the_usual(cls, servers: Any) -> Any:
        if isinstance(servers, Mapping) and set(servers) <= set(_USUAL_SERVERS):
            return {name: servers.get(name, {}) for name in _USUAL_SERVERS}
        return servers

    @model_validator(mode="after")
    def _networks_differ(self) -> Self:
        if self.migration_link is not None:
            mine, other = ipaddress.ip_network(self.network), ipaddress.ip_network(self.migration_link.network)
            if mine.overlaps(other):
                raise MisfitError(f"{other} overlaps the lab's own network {mine}", "migration_link", "network")
        return self

    @model_validator(mode="after")
    def _cpus_are_not_negative(self) -> Self:
        members: list[tuple[tuple[str, ...], ServerSpec | VantageSpec]] = [
            *((("servers", name), server) for name, server in self.servers.items()),
            (("vantage",), self.vantage),
        ]
        for key, member in members:
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
