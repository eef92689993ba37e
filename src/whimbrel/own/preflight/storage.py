"""Disks of the guest: whether both hosts have one and the same, and what libvirt keeps of them. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.preflight.examined import Examined, Looked

# From this version on it gives up what it has cached when it hands over (drop-cache).
_GIVES_UP_CACHE = (2, 12)


def paths_of(root: ET.Element) -> list[str]:
    """Files and devices that the guest opens: of its disks and drives, and what they lie over."""
    return list(dict.fromkeys(path for disk in root.findall("./devices/disk") for path in _paths(disk)))


def _paths(disk: ET.Element) -> Iterator[str]:
    """The disk first, then what it lies over."""
    at: ET.Element | None = disk
    while at is not None:
        source = at.find("source")
        if source is not None and (path := source.get("file") or source.get("dev")):
            yield path
        at = at.find("backingStore")


def examine_storage(it: Examined) -> list[Finding]:
    """Looks at each disk, and at the guest as a whole."""
    return [*(found for disk in it.devices("disk") for found in _disk(it, disk)), *_kept(it)]


def _disk(it: Examined, disk: ET.Element) -> list[Finding]:
    there = it.destination.name
    found = []
    drive = disk.get("device") in ("cdrom", "floppy")
    for path in _paths(disk):
        found += _file(there, path, it.files.get(path, Looked(None, None, "nobody has looked")), drive)
    source = disk.find("source")
    pool = source.get("pool") if source is not None else None
    pools = it.destination.facts.pools
    if pool is not None and pools is None:
        found.append(finding("disk-unseen", there, f"{_name(disk)}: libvirt lists no pools", path=f"the pool {pool}"))
    elif pool is not None and not any(each.name == pool and each.active for each in pools or ()):
        found.append(finding("pool-not-there", there, f"{_name(disk)}: the pool {pool}", pool=pool))
    for secret in disk.iter("secret"):
        found += _secret(it, disk, secret.get("uuid") or secret.get("usage") or "")
    if disk.find("transient") is not None:
        found.append(finding("transient-disk", it.source.name, _name(disk)))
    driver = disk.find("driver")
    cache = driver.get("cache", "default") if driver is not None else "default"
    if cache not in ("none", "directsync") and disk.find("readonly") is None and disk.find("shareable") is None and (
        it.source.facts.versions["qemu"] < _GIVES_UP_CACHE
    ):  # fmt: skip
        found.append(finding("disk-cached", it.source.name, f"{_name(disk)}: cache={cache}"))
    return found


def _file(there: str, path: str, looked: Looked, drive: bool) -> list[Finding]:
    if looked.unseen:
        return [finding("disk-unseen", there, looked.unseen, path=path)]
    if looked.destination is None:
        return [finding("medium-not-there" if drive else "disk-not-there", there, f"there is no {path}", path=path)]
    if looked.source is None:
        return [finding("disk-unseen", there, f"the source's pool does not list {path}", path=path)]
    if looked.source == looked.destination and looked.source.changed:
        return []
    if looked.source.capacity_bytes != looked.destination.capacity_bytes:
        sizes = f"{looked.source.capacity_bytes} bytes at the source, {looked.destination.capacity_bytes} there"
        return [finding("disk-is-another", there, f"{path}: {sizes}", path=path)]
    if drive:
        # A copy of a medium that cannot be written to is as good.
        return []
    said = f"{path}: changed at {looked.source.changed or 'an unknown time'} at the source,"
    said += f" at {looked.destination.changed or 'an unknown time'} there"
    if looked.source.changed and looked.destination.changed and _far_apart(looked.source.changed, looked.destination.changed):
        return [finding("disk-is-another", there, said, path=path)]
    return [finding("disk-unseen", there, said, path=path)]


def _far_apart(one: str, other: str) -> bool:
    """Longer than what is written shows late on another host (NFS: a minute at most)."""
    return abs(_seconds(one) - _seconds(other)) > 120.0


def _seconds(stamps: str) -> float:
    return max((float(part) for part in stamps.split("/") if part), default=0.0)


def _secret(it: Examined, disk: ET.Element, secret: str) -> list[Finding]:
    known = it.destination.facts.secrets
    if known is None:
        return [finding("secret-unseen", it.destination.name, f"{_name(disk)}: {secret}")]
    return [] if secret in known else [finding("secret-missing", it.destination.name, f"{_name(disk)}: {secret}")]


def _kept(it: Examined) -> list[Finding]:
    guest, here = it.guest, it.source.name
    found = [finding("snapshots", here, f"{guest.snapshots} of them")] if guest.snapshots else []
    found += [finding("checkpoints", it.destination.name, f"{guest.checkpoints} of them")] if guest.checkpoints else []
    return found + [finding("block-job", here, f"of {target}") for target in guest.block_jobs]


def _name(disk: ET.Element) -> str:
    target = disk.find("target")
    return f"disk {target.get('dev', '') if target is not None else ''}".strip()
