"""What of a host's memory is free: shared memory looks like page cache, and is not given back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.engines import libvirt_storage
from whimbrel.engines.hypervisor import HostMemory
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import CapabilityError, ReservationError
from whimbrel.guests.guest import memory_of
from whimbrel.hosts import remote
from whimbrel.hosts.host import Capacity
from whimbrel.hosts.remote import RemoteHost
from whimbrel.migrate import reservation
from whimbrel.migrate.reservation import reserved
from whimbrel.spec.hosts import RemoteHostSpec
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES
from whimbrel.system import memory

# 2 GiB free and 38 GiB of shared memory, as proc_meminfo(5) writes it.
MEMINFO = """\
MemTotal:       65843012 kB
MemFree:         2097152 kB
MemAvailable:    3670016 kB
Buffers:          102400 kB
Cached:         41943040 kB
SwapCached:            0 kB
Active(anon):    4194304 kB
Shmem:          39845888 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
GIB = 2**30
BUFFERS = 100 * 2**20
HERE, AWAY = "qemu:///system", "qemu+tls://far.example/system"


class Raw:
    """libvirt's connection; it reads the same file as we do, and passes on four of its lines."""

    def getMemoryStats(self, _cell: int) -> dict[str, int]:  # noqa: N802
        found = memory.read_meminfo(MEMINFO)
        names = {"total": "MemTotal", "free": "MemFree", "buffers": "Buffers", "cached": "Cached"}
        return {name: found[key] // 1024 for name, key in names.items()}


class Pool:
    def free_bytes(self) -> int:
        return 7 * GIB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def opened(uri: str) -> Iterator[Connection]:
        yield Connection(uri, Raw())

    @contextmanager
    def pool(*_: Any) -> Iterator[Pool]:
        yield Pool()

    monkeypatch.setattr(Connection, "open", opened)
    monkeypatch.setattr(libvirt_storage, "pool", pool)
    (tmp_path / "of-this-machine").write_text(MEMINFO)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "of-this-machine")
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    monkeypatch.setattr(reservation, "warned", set())


def host(uri: str) -> RemoteHost:
    spec = RemoteHostSpec.model_validate({"libvirt": uri, "address": "192.0.2.1", "peer_libvirt": AWAY})
    return RemoteHost("b", spec, "/srv", "label")


def test_what_libvirt_says_is_known_within_bounds() -> None:
    told = Connection(AWAY, Raw()).memory()
    assert told == HostMemory(65843012 * 1024, 2 * GIB, BUFFERS, 40 * GIB)
    assert (told.free_for_sure_bytes, told.free_at_most_bytes) == (2 * GIB + BUFFERS, 42 * GIB + BUFFERS)


def test_another_machines_memory_is_given_with_both_bounds_and_the_reason() -> None:
    assert host(AWAY).capacity() == Capacity(42 * GIB + BUFFERS, 7 * GIB, 2 * GIB + BUFFERS)
    assert host(AWAY).access.unmeasured["shared memory of host b"].startswith("libvirt counts it as page cache")
    assert remote.room_of(host(AWAY)).startswith("42.1 GiB of memory (2.098 GiB for sure), ")


def test_of_this_machine_the_kernel_is_asked() -> None:
    assert host(HERE).capacity() == Capacity(int(3.5 * GIB), 7 * GIB)
    assert "shared memory of host b" not in host(HERE).access.unmeasured


def test_a_socket_may_lead_to_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "meminfo"
    other.write_text(MEMINFO.replace("65843012", "16384000"))
    monkeypatch.setattr(memory, "MEMINFO", other)
    assert host("qemu+unix:///system?socket=/run/passed-on").capacity().sure_memory_bytes == 2 * GIB + BUFFERS


def test_a_kernel_that_does_not_say_is_no_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    with pytest.raises(CapabilityError, match="does not say MemAvailable"):
        memory.available_bytes()


class Bounded(FakeHost):
    """A host of which free memory is known within bounds."""

    def capacity(self) -> Capacity:
        return Capacity(8 * GIB, 100 * GIB, 2 * GIB)


@pytest.mark.parametrize(("asked_bytes", "said"), [(GIB, ""), (3 * GIB, "may lack memory")])
def test_what_may_not_be_there_is_set_aside_with_a_warning(caplog: pytest.LogCaptureFixture, asked_bytes: int, said: str) -> None:
    for _ in range(2):
        # A campaign says it once.
        with caplog.at_level(logging.WARNING), reserved(Bounded(), GUEST.name, asked_bytes - QEMU_OVERHEAD_BYTES, GIB):
            pass
    assert [said in line for line in caplog.messages] == ([True] if said else [])
    assert said == "" or "of which 2 GiB are free for sure" in caplog.messages[0]


def test_what_is_not_there_in_any_case_is_refused() -> None:
    with pytest.raises(ReservationError, match="cannot set aside"), reserved(Bounded(), GUEST.name, 8 * GIB, GIB):
        pass


class Guest:
    def read(self, path: str) -> bytes:
        assert path == "/proc/meminfo"
        return MEMINFO.encode()


def test_a_guests_page_cache_is_without_its_shared_memory() -> None:
    inside: Any = Guest()
    assert memory_of(inside).cached_bytes == 2 * GIB
