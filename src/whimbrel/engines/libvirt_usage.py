"""What a guest takes, from the statistics that libvirt has of it (virConnectGetAllDomainStats). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from whimbrel.engines.hypervisor import GuestUsage


def usage_of(stats: Mapping[str, int]) -> GuestUsage:
    """Sums over its processors and its disks; None where libvirt names none of them, 0 where it says that there is no disk."""
    resident_kib = stats.get("balloon.rss")
    no_disk = 0 if stats.get("block.count") == 0 else None
    return GuestUsage(
        cpu_ns=stats.get("cpu.time"),
        waited_ns=_sum(stats, "vcpu.", ".delay"),
        resident_bytes=resident_kib * 1024 if resident_kib is not None else None,
        disk_read_bytes=_sum(stats, "block.", ".rd.bytes", no_disk),
        disk_written_bytes=_sum(stats, "block.", ".wr.bytes", no_disk),
    )


def _sum(stats: Mapping[str, int], begin: str, end: str, of_none: int | None = None) -> int | None:
    found = [value for name, value in stats.items() if name.startswith(begin) and name.endswith(end)]
    return sum(found) if found else of_none
