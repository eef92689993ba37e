"""Hosts that somebody else runs: known by a libvirt URI and an address only."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from whimbrel.spec.fields import RECORD, BytesPerSecond, HostName, LabName, MisfitError, Spec
from whimbrel.spec.libvirt_uri import LibvirtUri, check_host, is_loopback, split_libvirt_uri


def _address(value: str) -> str:
    check_host(value)
    if is_loopback(value):
        raise ValueError(f"{value!r} is whichever machine uses it: write the address at which the other host reaches this one")
    return value


def _interface(value: str) -> str:
    if not value:
        return value
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is no IPv4 address with its network, such as 10.0.0.100/24: the guest has no other"
        ) from error
    network = interface.network
    if network.prefixlen == 32 or "/" not in value:
        raise ValueError(f"{value!r} has no network: write it with one, such as 10.0.0.100/24")
    if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        raise ValueError(
            f"{value!r} is the first or the last of its network: the network's own address and that of all its hosts"
        )
    if interface.is_loopback or interface.is_multicast or interface.is_unspecified or interface.is_reserved:
        raise ValueError(f"{value!r} is no address that a guest can have")
    return f"{interface.ip}/{network.prefixlen}"


def _folder(value: str) -> str:
    if not value:
        return value
    if not value.startswith("/") or ".." in value.split("/") or len(value) > 200 or not value.isprintable():
        raise ValueError(f"{value!r} is no absolute path")
    if not value.strip("/"):
        raise ValueError("is the top folder of the hosts: name one for whimbrel's files")
    return value.rstrip("/")


def _link_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", value):
        raise ValueError(f"{value!r} is no name of a network link: letters, digits, '.', '_' and '-', at most 15")
    return value


class RemoteHostSpec(Spec):
    """One host.

    ``address`` is the name or address that other hosts send a guest's memory to. ``peer_libvirt`` is how other hosts reach its
    libvirt (as we do, unless said otherwise). ``certificate_name`` is whom QEMU's certificate there is for, where that is
    neither ``address`` nor the host in ``peer_libvirt`` (for moves with ``tls``).
    """

    libvirt: LibvirtUri
    peer_libvirt: LibvirtUri | None = None
    address: Annotated[str, Field(max_length=255), AfterValidator(_address)]
    certificate_name: Annotated[str, Field(max_length=255), AfterValidator(check_host)] | None = None

    @model_validator(mode="after")
    def _peer_reaches_it(self, info: ValidationInfo) -> Self:
        """A URI that means whichever machine opens it would let the other host move the guest to itself.

        In a record it may be that of a host from which a guest was moved away.
        """
        if info.context is RECORD:
            return self
        if self.peer_libvirt is None and split_libvirt_uri(self.libvirt).local:
            raise MisfitError(
                f"is missing: {self.libvirt!r} means the machine that opens it; say how the other host reaches it,"
                " such as 'qemu+tls://one.example/system'",
                "peer_libvirt",
            )
        if self.peer_libvirt is not None and split_libvirt_uri(self.peer_libvirt).local:
            raise MisfitError(
                f"{self.peer_libvirt!r} means the machine that opens it, which is the other host: name this host", "peer_libvirt"
            )
        return self


class HostsSpec(Spec):
    """Hosts, and what a guest needs on each: a folder that they share, a bridge, and an address for the guest.

    ``servers`` are the hosts by name, two or more; a campaign moves between the first two. Hosts called ``a`` and ``b`` may be
    written without ``servers``. ``link_rate`` is what their link gives, for estimates only. ``cpu`` is a processor that guests in
    KVM are given, by libvirt's name for it, such as EPYC-Rome; without it they are given all of their host's, and move to hosts
    that have all of that.

    Folder and address are for guests of whimbrel's; a guest of the user's own (``guest.domain``) has its own.
    """

    name: LabName = "hosts"
    servers: dict[HostName, RemoteHostSpec] = Field(min_length=2, max_length=64)
    storage: Annotated[str, AfterValidator(_folder)] = ""
    bridge: Annotated[str, AfterValidator(_link_name)] = "br0"
    guest_address: Annotated[str, AfterValidator(_interface)] = ""
    accelerator: Literal["kvm", "tcg"] = "kvm"
    cpu: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")] | None = None
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)

    @model_validator(mode="before")
    @classmethod
    def _two_without_servers(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "servers" not in given and {"a", "b"} & set(given):
            rest = {key: value for key, value in given.items() if key not in ("a", "b")}
            return rest | {"servers": {key: given[key] for key in ("a", "b") if key in given}}
        return given

    @model_validator(mode="after")
    def _differ(self) -> Self:
        for (one, first), (other, second) in itertools.combinations(self.servers.items(), 2):
            for key in ("libvirt", "peer_libvirt"):
                theirs = getattr(first, key), getattr(second, key)
                if theirs[0] is not None and theirs[0] == theirs[1]:
                    raise MisfitError(
                        f"is the same as that of host {one}: a guest cannot move to where it is", "servers", other, key
                    )
            if _normal(first.address) == _normal(second.address):
                raise MisfitError(f"is the same as that of host {one}", "servers", other, "address")
        if self.cpu is not None and self.accelerator != "kvm":
            raise MisfitError("is for guests in KVM: emulated ones are given what QEMU emulates, wherever they are", "cpu")
        if self.guest_address and self.guest_address.partition("/")[0] in {
            _normal(host.address) for host in self.servers.values()
        }:
            raise MisfitError("is that of a host", "guest_address")
        return self


def _normal(host: str) -> str:
    """One way to write it: addresses in their shortest form, names in small letters."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")
