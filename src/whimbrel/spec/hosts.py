"""Hosts that somebody else runs: known by a libvirt URI and an address only."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from whimbrel.spec.fields import BytesPerSecond, LabName, MisfitError, Spec


def _libvirt_uri(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme.startswith("qemu") or parts.path != "/system":
        raise ValueError(f"{value!r} is no libvirt URI of a QEMU host, such as qemu+tls://host/system")
    return value


def _address(value: str) -> str:
    ipaddress.IPv4Address(value)
    return value


def _interface(value: str) -> str:
    address = ipaddress.IPv4Interface(value)
    if address.network.prefixlen == 32:
        raise ValueError(f"{value!r} has no network: write it with one, such as 10.0.0.100/24")
    return value


def _folder(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or len(value) > 200 or not value.isprintable():
        raise ValueError(f"{value!r} is no absolute path")
    return value.rstrip("/")


def _link_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", value):
        raise ValueError(f"{value!r} is no name of a network link: letters, digits, '.', '_' and '-', at most 15")
    return value


LibvirtUri = Annotated[str, AfterValidator(_libvirt_uri), Field(max_length=400)]


class RemoteHostSpec(Spec):
    """One host. ``peer_libvirt`` is how the other host reaches its libvirt (as we do, unless said otherwise)."""

    libvirt: LibvirtUri
    peer_libvirt: LibvirtUri | None = None
    address: Annotated[str, AfterValidator(_address)]


class HostsSpec(Spec):
    """Two hosts, and what a guest needs on both: a folder that they share, a bridge, and an address for the guest.

    ``link_rate`` is what their link gives, for estimates only.
    """

    name: LabName = "hosts"
    a: RemoteHostSpec
    b: RemoteHostSpec
    storage: Annotated[str, AfterValidator(_folder)]
    bridge: Annotated[str, AfterValidator(_link_name)] = "br0"
    guest_address: Annotated[str, AfterValidator(_interface)]
    accelerator: Literal["kvm", "tcg"] = "kvm"
    link_rate_bytes_per_s: BytesPerSecond = Field(alias="link_rate", default=125e6)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.a.libvirt == self.b.libvirt:
            raise MisfitError("is the same as that of host a: a guest cannot move to where it is", "b", "libvirt")
        addresses = {"a": self.a.address, "b": self.b.address, "guest": self.guest_address.partition("/")[0]}
        if addresses["a"] == addresses["b"]:
            raise MisfitError("is the same as that of host a", "b", "address")
        if addresses["guest"] in (addresses["a"], addresses["b"]):
            raise MisfitError("is that of a host", "guest_address")
        return self
