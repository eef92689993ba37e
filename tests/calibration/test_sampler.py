"""The host sampler against work of a known size: CPU time, traffic, memory, and what a QEMU writes to its disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.calibration.table import say
from tests.system.test_instruments import instrument, pair
from whimbrel.system import netns
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.deadline import pause
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import start

pytestmark = pytest.mark.alone

__all__ = ["pair"]

_BUSY = """
import resource, time
for _ in range(20):
    end = time.thread_time() + 0.05
    while time.thread_time() < end: pass
    time.sleep(0.05)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, flush=True)
"""
_SEND = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(2000):
    s.sendto(bytes(1000), ("10.99.1.2", 9))
    if i % 50 == 0: time.sleep(0.02)
print(2000 * (1000 + 8 + 20 + 14), flush=True)
time.sleep(0.3)
"""
_GROW = """
import time
held = []
for _ in range(10):
    held.append(b"x" * (16 << 20))
    time.sleep(0.05)
print(160 << 20, flush=True)
time.sleep(0.6)
"""
_WRITE = """
import mmap, os, sys, time
time.sleep(0.3)
block = mmap.mmap(-1, 1 << 20)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
for _ in range(64): os.write(file, block)
print(64 << 20, flush=True)
time.sleep(0.3)
"""


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Ledger("calibration") as ledger:
        made = Cgroup("calibration/one")
        ledger.add("cgroup", made.name)
        made.create(cpus=machine_cpus(), memory_bytes=None)
        try:
            yield made
        finally:
            ledger.undo_all()


def observe(tmp_path: Path, group: Cgroup, netns_name: str, command: Sequence[str | Path]) -> tuple[pl.DataFrame, str]:
    """Samples while the command works; what it printed is the truth."""
    points = [{"host": "a", "cgroup": group.name, "init_pid": 1}]
    with instrument(tmp_path, "sampler", {"points": points, "every_s": 0.1}, netns_name):
        pause(0.3)
        working = start([*netns.inside(netns_name), *command], stdout=True, cgroup_procs=group.procs_files)
        said = working.stdout.read().decode()
        assert working.wait(30) == 0
        pause(0.3)
        working.stop()
    return pl.read_parquet(tmp_path / "sampler.parquet").sort("t_ns"), said


def grown(rows: pl.DataFrame, subject: str, column: str) -> float:
    values = rows.filter(pl.col("subject") == subject).get_column(column).drop_nulls().to_list()
    return float(values[-1] - values[0])


def test_cpu_time(tmp_path: Path, group: Cgroup, pair: tuple[str, str]) -> None:
    rows, said = observe(tmp_path, group, pair[0], [sys.executable, "-c", _BUSY])
    truth_s, measured_s = float(said), grown(rows, "a", "cpu_s")
    say("CPU time", truth_s, measured_s, "s")
    # What the shell that joins the group took is in it as well.
    assert abs(measured_s - truth_s) < 0.06 + 0.03 * truth_s


def test_memory(tmp_path: Path, group: Cgroup, pair: tuple[str, str]) -> None:
    rows, said = observe(tmp_path, group, pair[0], [sys.executable, "-c", _GROW])
    values = rows.filter(pl.col("subject") == "a").get_column("memory_bytes").drop_nulls().to_list()
    truth_mib, measured_mib = int(said) / 2**20, (max(values) - values[0]) / 2**20
    say("memory", truth_mib, measured_mib, "MiB")
    # The interpreter's own memory comes with it.
    assert 0 <= measured_mib - truth_mib < 24


def test_traffic(tmp_path: Path, group: Cgroup, pair: tuple[str, str]) -> None:
    points = [{"host": "a", "cgroup": group.name, "init_pid": None}]
    with instrument(tmp_path, "sampler", {"points": points, "every_s": 0.1}, pair[0]):
        pause(0.3)
        sending = start([*netns.inside(pair[0]), sys.executable, "-c", _SEND], stdout=True)
        truth_bytes = int(sending.stdout.read())
        assert sending.wait(30) == 0
        pause(0.3)
        sending.stop()
    measured_bytes = grown(pl.read_parquet(tmp_path / "sampler.parquet").sort("t_ns"), "a", "net_sent_bytes")
    say("traffic", truth_bytes / 1000, measured_bytes / 1000, "kB")
    # Neighbours that ask for one another's address say a few words of their own.
    assert 0 <= measured_bytes - truth_bytes < 1000


def test_what_a_qemu_writes(tmp_path: Path, group: Cgroup, pair: tuple[str, str]) -> None:
    # The sampler knows a QEMU by its name: an interpreter that bears it writes a known amount past the page cache.
    qemu = tmp_path / "qemu-system-py"
    shutil.copy(Path(sys.executable).resolve(), qemu)
    rows, said = observe(tmp_path, group, pair[0], [qemu, "-c", _WRITE, tmp_path / "disk"])
    truth_mib, measured_mib = int(said) / 2**20, grown(rows, "a", "disk_written_bytes") / 2**20
    say("disk", truth_mib, measured_mib, "MiB")
    # The file system may add a block of its own.
    assert 0 <= measured_mib - truth_mib < 0.1
