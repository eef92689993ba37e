"""The bridge that a guest joins, on both hosts: whether it is there, and whether packets of the same size pass."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.engines.host_files import HostFiles
from whimbrel.errors import RefusedError
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.spec.fields import HostName


def bridge_files(bridge: str) -> list[str]:
    """What is read of a bridge (sysfs-class-net)."""
    return [_mtu_file(bridge), _id_file(bridge)]


def _mtu_file(bridge: str) -> str:
    return f"/sys/class/net/{bridge}/mtu"


def _id_file(bridge: str) -> str:
    return f"/sys/class/net/{bridge}/bridge/bridge_id"


@dataclass(frozen=True)
class Bridge:
    """A host's bridge; ``mtu_bytes`` None and ``trouble`` said where nobody could read it."""

    host: HostName
    name: str
    there: bool | None
    mtu_bytes: int | None
    trouble: str = ""


def read_bridge(host: HostName, bridge: str, files: HostFiles) -> Bridge:
    """What the host's kernel says of it."""
    try:
        mtu, identity = files.read(_mtu_file(bridge)), files.read(_id_file(bridge))
    except RefusedError as error:
        return unread_bridge(host, bridge, error.details or error.brief)
    if mtu is not None and identity is None:
        return Bridge(host, bridge, False, None, f"{bridge} is a link, and no bridge")
    return Bridge(host, bridge, mtu is not None, int(mtu) if mtu is not None else None)


def unread_bridge(host: HostName, bridge: str, why: str) -> Bridge:
    """The finding of a bridge that nobody could look at."""
    return Bridge(host, bridge, None, None, why)


def examine_bridges(a: Bridge, b: Bridge) -> list[Finding]:
    """What is amiss with either, and between both. Pure."""
    findings = []
    for bridge in (a, b):
        if bridge.there is None:
            findings.append(finding("bridge-unseen", bridge.host, bridge.trouble, bridge=bridge.name))
        elif not bridge.there:
            seen = bridge.trouble or f"there is no link of the name {bridge.name}"
            findings.append(finding("bridge-missing", bridge.host, seen, bridge=bridge.name))
    if a.mtu_bytes is not None and b.mtu_bytes is not None and a.mtu_bytes != b.mtu_bytes:
        small, large = sorted((a, b), key=lambda each: each.mtu_bytes or 0)
        seen = f"{small.mtu_bytes} bytes on host {small.host}, {large.mtu_bytes} on host {large.host}"
        findings.append(finding("mtu-differs", small.host, seen, bridge=small.name, small=small.mtu_bytes, large=large.mtu_bytes))
    return findings
