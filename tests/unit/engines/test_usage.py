"""What guests take, in libvirt's names and in ours; the sampler's row of them."""

from __future__ import annotations

from typing import cast

import pytest

from whimbrel.engines.hypervisor import GuestUsage, Hypervisor
from whimbrel.engines.libvirt_usage import usage_of
from whimbrel.observe.sampler import LibvirtReader

# As libvirt 11.3 says of a guest with two processors and two disks; sizes in KiB where they are of the balloon.
STATS = {
    "state.state": 1, "cpu.time": 12_000_000_000, "cpu.user": 9_000_000_000, "balloon.current": 1_048_576, "balloon.rss": 700_000,
    "vcpu.current": 2, "vcpu.0.time": 5, "vcpu.0.delay": 40_000_000, "vcpu.1.delay": 2_000_000, "block.count": 2,
    "block.0.rd.reqs": 3, "block.0.rd.bytes": 4096, "block.0.wr.bytes": 512, "block.1.rd.bytes": 100, "block.1.wr.bytes": 0,
}  # fmt: skip


def test_processors_and_disks_are_summed() -> None:
    assert usage_of(STATS) == GuestUsage(12_000_000_000, 42_000_000, 700_000 * 1024, 4196, 512)


def test_what_is_not_said_is_not_known_and_no_disk_reads_nothing() -> None:
    arriving = {name: value for name, value in STATS.items() if not name.startswith(("block.", "balloon.rss"))}
    assert usage_of(arriving) == GuestUsage(12_000_000_000, 42_000_000, None, None, None)
    assert usage_of({"cpu.time": 1, "block.count": 0}) == GuestUsage(1, None, None, 0, 0)


class Host:
    """Says what its guests take; the part of ``engines.hypervisor.Hypervisor`` that is asked."""

    def __init__(self, *usages: GuestUsage) -> None:
        self.usages = usages

    def guest_usages(self) -> dict[str, GuestUsage]:
        return {f"guest-{number}": usage for number, usage in enumerate(self.usages)}

    def host_statistics(self) -> dict[str, int]:
        return {"cpu_ns": 3_000_000_000, "memory_bytes": 2**30, "cache_bytes": 2**20}


def reader_of(*usages: GuestUsage) -> LibvirtReader:
    return LibvirtReader("a", cast("Hypervisor", Host(*usages)), 500_000_000)


def test_the_row_of_all_guests_is_their_sum_and_the_hosts_disks_are_theirs() -> None:
    reader = reader_of(GuestUsage(2_000_000_000, 1_000_000_000, 100, 10, 1), GuestUsage(1_000_000_000, 0, 50, 20, 2))
    [row] = reader.guest_rows(1_000_000_000)
    assert (row["t_ns"], row["subject"]) == (1_000_000_000, "qemu@a")
    assert (row["cpu_s"], row["run_delay_s"], row["memory_bytes"]) == (3.0, 1.0, 150)
    [host] = reader.host_rows(1_200_000_000)
    assert (host["disk_read_bytes"], host["disk_written_bytes"], host["cpu_s"]) == (30, 3, 3.0)
    # Disks that were seen too long ago are not known.
    [later] = reader.host_rows(9_000_000_000)
    assert (later["disk_read_bytes"], later["disk_written_bytes"]) == (None, None)


@pytest.mark.parametrize("unknown", ["cpu_ns", "waited_ns", "resident_bytes", "disk_read_bytes"])
def test_of_what_one_guest_does_not_say_there_is_no_sum(unknown: str) -> None:
    known = {"cpu_ns": 1, "waited_ns": 2, "resident_bytes": 3, "disk_read_bytes": 4, "disk_written_bytes": 5}
    [row] = reader_of(GuestUsage(1, 2, 3, 4, 5), GuestUsage(**{**known, unknown: None})).guest_rows(0)
    column = {"cpu_ns": "cpu_s", "waited_ns": "run_delay_s", "resident_bytes": "memory_bytes"}.get(unknown, unknown)
    assert row[column] is None
    assert sum(value is None for value in row.values()) == sum(value is None for value in row_of_two().values()) + 1


def row_of_two() -> dict[str, int | float | str | None]:
    [row] = reader_of(GuestUsage(1, 2, 3, 4, 5), GuestUsage(1, 2, 3, 4, 5)).guest_rows(0)
    return row


def test_a_host_without_guests_has_no_row_of_them() -> None:
    assert list(reader_of().guest_rows(0)) == []
