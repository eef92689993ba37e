"""The host sampler: raw counters of hosts, QEMU processes and the machine, ten times a second, in a process of its own.

Sources: proc_pid_stat(5), proc_pid_io(5), proc_pid_status(5), proc_pid_net(5), sched-stats.rst and
control groups; of hosts that are only a URI, libvirt's own statistics.
Run as ``python -m whimbrel.observe.sampler CONFIGURATION``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import NoGuestError, RefusedError
from whimbrel.records.series import HOSTS_SCHEMA, HostRow, write_series
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.child import Child, Looks, Readings, configuration

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LINKS = ("eth0", "eth1")

# A sample that is more than so many periods after the one before leaves a hole.
_HOLE_PERIODS = 5
_LAST_LOOK_S = 5.0


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

    def rows(self, t_ns: int) -> Iterator[HostRow]:
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
            command = self._commands[pid] = read_text(f"/proc/{pid}/comm").strip()
        return command.startswith("qemu-system")

    def _qemu_row(self, t_ns: int, pid: int) -> HostRow:
        counters = _key_values(read_text(f"/proc/{pid}/io"))
        if "read_bytes" in counters:
            self._disks[pid] = (counters["read_bytes"], counters["write_bytes"])
        anonymous_kib = _key_values(read_text(f"/proc/{pid}/status")).get("RssAnon")
        read, written = self._disks.get(pid, (None, None))
        return _row(
            t_ns, f"qemu@{self.host}", cpu_s=read_cpu_s(pid),
            memory_bytes=anonymous_kib * 1024 if anonymous_kib is not None else None,
            disk_read_bytes=read, disk_written_bytes=written, run_delay_s=read_run_delay_s(pid),
        )  # fmt: skip


class LibvirtReader:
    """Reads one host through its libvirt, which tells of the host's CPU and memory, and of each guest's CPU, memory and disks.

    Host and guests are read by themselves: libvirt lets whoever asks for a guest wait while it starts a guest's QEMU.
    """

    def __init__(self, host: str, connection: Hypervisor, every_ns: int) -> None:
        self._host = host
        self._connection = connection
        self._fresh_ns = 2 * every_ns
        # What all guests have read and written so far, and when that was seen.
        self._disks: tuple[int, int | None, int | None] = (0, None, None)

    def host_rows(self, t_ns: int) -> Iterator[HostRow]:
        """A row for the host; its disk's figures are those of its guests, None while libvirt does not tell them."""
        found = self._connection.host_statistics()
        seen_ns, read, written = self._disks
        if t_ns - seen_ns > self._fresh_ns:
            read = written = None
        yield _row(
            t_ns, self._host, cpu_s=found["cpu_ns"] / 1e9, memory_bytes=found["memory_bytes"], cache_bytes=found["cache_bytes"],
            disk_read_bytes=read, disk_written_bytes=written,
        )  # fmt: skip

    def guest_rows(self, t_ns: int) -> Iterator[HostRow]:
        """A row for all guests together; what libvirt does not tell of each of them is None."""
        guests = list(self._connection.guest_usages().values())
        read, written = _sum(each.disk_read_bytes for each in guests), _sum(each.disk_written_bytes for each in guests)
        self._disks = (t_ns, read, written)
        if guests:
            yield _row(
                t_ns, f"qemu@{self._host}", cpu_s=_seconds(_sum(each.cpu_ns for each in guests)),
                memory_bytes=_sum(each.resident_bytes for each in guests),
                disk_read_bytes=read, disk_written_bytes=written, run_delay_s=_seconds(_sum(each.waited_ns for each in guests)),
            )  # fmt: skip


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum; None when one is not known, as a sum over some would jump, or when there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def _seconds(ns: int | None) -> float | None:
    return ns / 1e9 if ns is not None else None


def _row(t_ns: int, subject: str, **values: float | None) -> HostRow:
    row: HostRow = {name: values.get(name) for name in HOSTS_SCHEMA}
    row |= {"t_ns": t_ns, "subject": subject}
    return row


def read_text(path: str) -> str:
    """A file of the kernel's; empty when what it tells of has ended."""
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
    for line in read_text(f"/proc/{init_pid or 'self'}/net/dev").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() in _LINKS:
            fields = numbers.split()
            received.append(int(fields[0]))
            sent.append(int(fields[8]))
    return (sum(received), sum(sent)) if received else (None, None)


def read_cpu_s(pid: int) -> float | None:
    """CPU time of a process, user and system, all threads."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S if fields else None


def read_run_delay_s(pid: int) -> float | None:
    """How long QEMU's virtual processors were ready to run but did not: on a crowded machine this grows."""
    total_ns = None
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if read_text(f"{task}/comm").startswith("CPU "):
                numbers = read_text(f"{task}/schedstat").split()
                if len(numbers) == 3:
                    total_ns = (total_ns or 0) + int(numbers[1])
    return total_ns / 1e9 if total_ns is not None else None


def read_machine(t_ns: int) -> HostRow:
    """The whole machine's busy CPU time: that in which its processors were not idle (proc_stat(5)).

    It is not the sum of the busy times there: some virtual machines' kernels at times charge ticks to nobody's programs, and what
    is busy and what is idle then add up to more than all processors have.
    """
    lines = [line.split() for line in read_text("/proc/stat").splitlines() if line.startswith("cpu")]
    idle_s = (int(lines[0][4]) + int(lines[0][5])) * _TICK_S
    return _row(t_ns, "machine", cpu_s=time.monotonic() * (len(lines) - 1) - idle_s)


class Sampling:
    """Looks again and again, at moments that do not wait for one another: a sample that came late does not make the next late."""

    def __init__(self, child: Child, every_ns: int, look: Callable[[int], Iterable[HostRow]]) -> None:
        self._child = child
        self._every_ns = every_ns
        self._look = look
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rows: list[HostRow] = []
        self.lateness_s: list[float] = []
        self.looks = Looks(_HOLE_PERIODS * every_ns / 1e9)
        self._readings = Readings()

    def sample(self) -> None:
        """Samples until it is told to stop."""
        due_ns = time.monotonic_ns()
        while not self._child.stopping:
            t_ns = time.monotonic_ns()
            lateness_s = max(0, t_ns - due_ns) / 1e9
            self.lateness_s.append(lateness_s)
            # A look that libvirt refuses, as it is busy with the guest, leaves a hole.
            with contextlib.suppress(RefusedError, NoGuestError):
                rows = [row | {"lateness_s": lateness_s} for row in self._look(t_ns)]
                self.rows += rows
                self.looks.note(t_ns)
                self._hand_on(t_ns, rows)
            due_ns += self._every_ns * max(1, -(-(time.monotonic_ns() - due_ns) // self._every_ns))
            self._child.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))

    def _hand_on(self, t_ns: int, rows: Iterable[HostRow]) -> None:
        if self._readings.due(t_ns):
            for row in rows:
                self._readings.give(**row)

    def start(self) -> None:
        """Starts to look, on a thread of its own."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self.sample()
        except BaseException as error:  # a thread has nobody to raise to: kept for check()
            self._failure = error

    def check(self) -> None:
        """Raises what ended the thread."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Waits for the last look, unless that is waited for in vain: then the hole has no end in the series."""
        self._thread.join(_LAST_LOOK_S)
        self.check()
        if self._thread.is_alive():
            self.looks.note()


def main() -> None:
    """Samples until told to stop, then writes the series."""
    child = Child()
    given = configuration()
    every_ns = round(given["every_s"] * 1e9)
    readers = [HostReader(point["host"], Cgroup(point["cgroup"]), point["init_pid"]) for point in given["points"]]
    by_libvirt = [LibvirtReader(host, hypervisor_at(uri), every_ns) for host, uri in given.get("libvirt", {}).items()]
    beside = [Sampling(child, every_ns, look) for reader in by_libvirt for look in (reader.host_rows, reader.guest_rows)]

    def look_here(t_ns: int) -> list[HostRow]:
        for other in beside:
            other.check()
        return [*(row for reader in readers for row in reader.rows(t_ns)), read_machine(t_ns)]

    here = Sampling(child, every_ns, look_here)
    for other in beside:
        other.start()
    child.say("ready")
    here.sample()
    for other in beside:
        other.end()
    samplings = [here, *beside]
    rows = [row for sampling in samplings for row in list(sampling.rows)]
    write_series(pl.DataFrame(rows, schema=HOSTS_SCHEMA).sort("t_ns", maintain_order=True), given["output"])
    child.say_cost([late_s for sampling in samplings for late_s in sampling.lateness_s], *(each.looks for each in samplings))


if __name__ == "__main__":
    main()
