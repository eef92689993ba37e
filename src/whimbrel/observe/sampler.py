"""The host sampler: raw counters of hosts, QEMU processes and the machine, ten times a second, in a process of its own.

Sources: proc_pid_stat(5), proc_pid_io(5), proc_pid_status(5), proc_pid_net(5), sched-stats.rst and
control groups; of hosts that are only a URI, libvirt's own statistics.
Run as ``python -m whimbrel.observe.sampler CONFIGURATION``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from whimbrel.engines.libvirt import Connection
from whimbrel.records.series import HOSTS_SCHEMA, write_series
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.child import Child, configuration

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LINKS = ("eth0", "eth1")

Row = dict[str, int | float | str | None]


@dataclass
class HostReader:
    """Reads one host: its group, its link, and each QEMU in it.

    A host's disk figures are those of its QEMU processes, which alone use the disk in a trial. A sum over all processes would
    count twice: the kernel adds what a process did to its parent's account when it has ended.
    """

    host: str
    cgroup: Cgroup
    init_pid: int | None
    _commands: dict[int, str] = field(default_factory=dict)
    _disks: dict[int, tuple[int, int]] = field(default_factory=dict)

    def rows(self, t_ns: int) -> Iterator[Row]:
        """One row for the host, and one for each of its QEMU processes."""
        qemu_rows = [self._qemu_row(t_ns, process.pid) for process in self.cgroup.processes() if self._is_qemu(process.pid)]
        usage = self.cgroup.usage()
        received, sent = read_link(self.init_pid)
        yield _row(
            t_ns, self.host, cpu_s=usage.cpu_s, memory_bytes=usage.memory_bytes, cache_bytes=usage.cache_bytes,
            net_received_bytes=received, net_sent_bytes=sent,
            disk_read_bytes=self._disk(0),
            disk_written_bytes=self._disk(1),
        )  # fmt: skip
        yield from qemu_rows

    def _disk(self, position: int) -> int | None:
        """Bytes read (0) or written (1) by all QEMUs so far; None where no QEMU could be, as at the vantage."""
        return None if self.init_pid is None else sum(counters[position] for counters in self._disks.values())

    def _is_qemu(self, pid: int) -> bool:
        command = self._commands.get(pid, "")
        if not command.startswith("qemu-system"):
            # Asked again each time: a process becomes QEMU a moment after it was started.
            command = self._commands[pid] = _read(f"/proc/{pid}/comm").strip()
        return command.startswith("qemu-system")

    def _qemu_row(self, t_ns: int, pid: int) -> Row:
        counters = _key_values(_read(f"/proc/{pid}/io"))
        if "read_bytes" in counters:
            self._disks[pid] = (counters["read_bytes"], counters["write_bytes"])
        anonymous_kib = _key_values(_read(f"/proc/{pid}/status")).get("RssAnon")
        read, written = self._disks.get(pid, (None, None))
        return _row(
            t_ns, f"qemu@{self.host}", cpu_s=read_cpu_s(pid),
            memory_bytes=anonymous_kib * 1024 if anonymous_kib is not None else None,
            disk_read_bytes=read, disk_written_bytes=written, run_delay_s=read_run_delay_s(pid),
        )  # fmt: skip


@dataclass
class LibvirtReader:
    """Reads one host through its libvirt, which tells of the host's CPU and memory, and of each guest's CPU, memory and disks."""

    host: str
    connection: Connection

    def rows(self, t_ns: int) -> Iterator[Row]:
        """One row for the host, and one for all its guests together."""
        host, guests = self.connection.host_statistics(), list(self.connection.guest_statistics().values())
        read, written = (_sum_of(guests, "block.", end) for end in (".rd.bytes", ".wr.bytes"))
        yield _row(
            t_ns, self.host, cpu_s=host["cpu_ns"] / 1e9, memory_bytes=host["memory_bytes"], cache_bytes=host["cache_bytes"],
            disk_read_bytes=read, disk_written_bytes=written,
        )  # fmt: skip
        if guests:
            delay_ns, resident_kib = _sum_of(guests, "vcpu.", ".delay"), _sum_of(guests, "balloon.rss", "")
            yield _row(
                t_ns, f"qemu@{self.host}", cpu_s=_scaled(_sum_of(guests, "cpu.time", ""), 1e-9),
                memory_bytes=resident_kib * 1024 if resident_kib is not None else None,
                disk_read_bytes=read, disk_written_bytes=written, run_delay_s=_scaled(delay_ns, 1e-9),
            )  # fmt: skip


def _sum_of(guests: Sequence[dict[str, int]], begin: str, end: str) -> int | None:
    """The sum of the statistics that begin and end so; None when there is none."""
    found = [value for stats in guests for name, value in stats.items() if name.startswith(begin) and name.endswith(end)]
    return sum(found) if found else None


def _scaled(value: int | None, factor: float) -> float | None:
    return value * factor if value is not None else None


def _row(t_ns: int, subject: str, **values: float | None) -> Row:
    row: Row = {name: values.get(name) for name in HOSTS_SCHEMA}
    row |= {"t_ns": t_ns, "subject": subject}
    return row


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
    """Bytes received and sent on the host's links (one, or two where moves have their own), as the host sees them."""
    received, sent = [], []
    for line in _read(f"/proc/{init_pid or 'self'}/net/dev").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() in _LINKS:
            fields = numbers.split()
            received.append(int(fields[0]))
            sent.append(int(fields[8]))
    return (sum(received), sum(sent)) if received else (None, None)


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
    """The whole machine's busy CPU time: that in which its processors were not idle (proc_stat(5)).

    It is not the sum of the busy times there: some virtual machines' kernels at times charge ticks to nobody's programs, and what
    is busy and what is idle then add up to more than all processors have.
    """
    lines = [line.split() for line in _read("/proc/stat").splitlines() if line.startswith("cpu")]
    idle_s = (int(lines[0][4]) + int(lines[0][5])) * _TICK_S
    return _row(t_ns, "machine", cpu_s=time.monotonic() * (len(lines) - 1) - idle_s)


def main() -> None:
    """Samples until told to stop, then writes the series."""
    child = Child()
    given = configuration()
    readers: list[HostReader | LibvirtReader] = [
        HostReader(point["host"], Cgroup(point["cgroup"]), point["init_pid"]) for point in given["points"]
    ]
    readers += [LibvirtReader(host, Connection.open(uri)) for host, uri in given.get("libvirt", {}).items()]
    every_ns = round(given["every_s"] * 1e9)
    rows: list[Row] = []
    lateness: list[float] = []
    due_ns = time.monotonic_ns()
    child.say("ready")
    while not child.stopping:
        t_ns = time.monotonic_ns()
        lateness_s = max(0, t_ns - due_ns) / 1e9
        lateness.append(lateness_s)
        taken = [row for reader in readers for row in reader.rows(t_ns)]
        taken.append(read_machine(t_ns))
        rows += [row | {"lateness_s": lateness_s} for row in taken]
        # A sample that came late does not make the next ones late.
        due_ns += every_ns * max(1, -(-(time.monotonic_ns() - due_ns) // every_ns))
        child.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
    write_series(pl.DataFrame(rows, schema=HOSTS_SCHEMA), given["output"])
    child.say_cost(lateness)


if __name__ == "__main__":
    main()
