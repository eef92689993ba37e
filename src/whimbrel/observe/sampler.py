"""The host sampler: raw counters of hosts, QEMU processes and the machine, ten times a second, in a process of its own.

Sources: proc_pid_stat(5), proc_pid_io(5), proc_pid_status(5), proc_pid_net(5), sched-stats.rst and control groups.
Run as ``python -m whimbrel.observe.sampler CONFIGURATION``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from whimbrel.records.series import HOSTS_SCHEMA
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.child import Child, configuration

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LINK = "eth0"

Row = dict[str, int | float | str | None]


@dataclass
class _ProcessTrack:
    """What we remember of one process, so that counters of a group never run backwards when it ends."""

    command: str
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass
class HostReader:
    """Reads one host: its group, its link, and each QEMU in it."""

    host: str
    cgroup: Cgroup
    init_pid: int | None
    _tracks: dict[int, _ProcessTrack] = field(default_factory=dict)
    _read_bytes: int = 0
    _written_bytes: int = 0

    def rows(self, t_ns: int) -> Iterator[Row]:
        """One row for the host, and one for each of its QEMU processes."""
        qemu_rows = []
        for process in self.cgroup.processes():
            track = self._track(process.pid)
            self._count_disk(process.pid, track)
            if track.command.startswith("qemu-system"):
                qemu_rows.append(self._qemu_row(t_ns, process.pid, track))
        usage = self.cgroup.usage()
        received, sent = read_link(self.init_pid)
        yield _row(
            t_ns, self.host, cpu_s=usage.cpu_s, memory_bytes=usage.memory_bytes, cache_bytes=usage.cache_bytes,
            net_received_bytes=received, net_sent_bytes=sent,
            disk_read_bytes=self._read_bytes, disk_written_bytes=self._written_bytes,
        )  # fmt: skip
        yield from qemu_rows

    def _track(self, pid: int) -> _ProcessTrack:
        if pid not in self._tracks:
            self._tracks[pid] = _ProcessTrack(_read(f"/proc/{pid}/comm").strip())
            first = _key_values(_read(f"/proc/{pid}/io"))
            self._tracks[pid].read_bytes = first.get("read_bytes", 0)
            self._tracks[pid].written_bytes = first.get("write_bytes", 0)
        return self._tracks[pid]

    def _count_disk(self, pid: int, track: _ProcessTrack) -> None:
        now = _key_values(_read(f"/proc/{pid}/io"))
        if now:
            self._read_bytes += now["read_bytes"] - track.read_bytes
            self._written_bytes += now["write_bytes"] - track.written_bytes
            track.read_bytes, track.written_bytes = now["read_bytes"], now["write_bytes"]

    def _qemu_row(self, t_ns: int, pid: int, track: _ProcessTrack) -> Row:
        status = _key_values(_read(f"/proc/{pid}/status"))
        anonymous_kib = status.get("RssAnon")
        return _row(
            t_ns, f"qemu@{self.host}", cpu_s=read_cpu_s(pid),
            memory_bytes=anonymous_kib * 1024 if anonymous_kib is not None else None,
            disk_read_bytes=track.read_bytes, disk_written_bytes=track.written_bytes, run_delay_s=read_run_delay_s(pid),
        )  # fmt: skip


def _row(t_ns: int, subject: str, **values: float | None) -> Row:
    return {name: values.get(name) for name in HOSTS_SCHEMA} | {"t_ns": t_ns, "subject": subject}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _key_values(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        number = value.split()[0] if value.split() else ""
        if number.isdigit():
            found[key] = int(number)
    return found


def read_link(init_pid: int | None) -> tuple[int | None, int | None]:
    """Bytes received and sent on the host's link, as the host sees them."""
    for line in _read(f"/proc/{init_pid or 'self'}/net/dev").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == _LINK:
            fields = numbers.split()
            return int(fields[0]), int(fields[8])
    return None, None


def read_cpu_s(pid: int) -> float | None:
    """CPU time of a process, user and system, all threads."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S if fields else None


def read_run_delay_s(pid: int) -> float | None:
    """How long QEMU's virtual processors were ready to run but did not: on a crowded machine this grows."""
    total_ns = None
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if _read(f"{task}/comm").startswith("CPU "):
                numbers = _read(f"{task}/schedstat").split()
                if len(numbers) == 3:
                    total_ns = (total_ns or 0) + int(numbers[1])
    return total_ns / 1e9 if total_ns is not None else None


def read_machine(t_ns: int) -> Row:
    """The whole machine's busy CPU time (proc_stat(5): all but idle and iowait)."""
    fields = [int(field) for field in _read("/proc/stat").splitlines()[0].split()[1:9]]
    return _row(t_ns, "machine", cpu_s=(sum(fields) - fields[3] - fields[4]) * _TICK_S)


def main() -> None:
    """Samples until told to stop, then writes the series."""
    child = Child()
    given = configuration()
    readers = [HostReader(point["host"], Cgroup(point["cgroup"]), point["init_pid"]) for point in given["points"]]
    every_ns = round(given["every_s"] * 1e9)
    rows: list[Row] = []
    due_ns = time.monotonic_ns()
    child.say("ready")
    while not child.stopping:
        t_ns = time.monotonic_ns()
        lateness_s = max(0, t_ns - due_ns) / 1e9
        taken = [row for reader in readers for row in reader.rows(t_ns)]
        taken.append(read_machine(t_ns))
        rows += [row | {"lateness_s": lateness_s} for row in taken]
        # A sample that came late does not make the next ones late.
        due_ns += every_ns * max(1, -(-(time.monotonic_ns() - due_ns) // every_ns))
        child.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
    pl.DataFrame(rows, schema=HOSTS_SCHEMA).write_parquet(given["output"])
    child.say_cost()


if __name__ == "__main__":
    main()
