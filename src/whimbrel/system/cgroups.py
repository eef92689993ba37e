"""A group of processes: where it may run, what memory it may take, what it used. Version 1 and version 2.

Kernel documentation: admin-guide/cgroup-v1 and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from whimbrel.errors import CapabilityError, CleanUpError
from whimbrel.system.deadline import Deadline, pause
from whimbrel.system.process import ProcessId

_MOUNTS = Path("/proc/self/mountinfo")
_CONTROLLERS = ("cpuacct", "cpuset", "memory")
_TOP = "whimbrel"
# In version 2 a group that hands controllers down has no processes of its own, so a group's own lie one level further in.
_OWN = "own"


@dataclass(frozen=True)
class Hierarchies:
    """Where each controller is mounted; ``unified`` when it is version 2.

    ``core`` is where version 2 is mounted, for what needs no controller: it freezes and ends a group as a whole. Beside version
    1 it is often there as well; None when it is not.
    """

    unified: bool
    mounts: dict[str, Path]
    core: Path | None


@dataclass(frozen=True)
class Usage:
    """What a group has used so far; None where the kernel does not say. Shared memory is memory, not page cache."""

    cpu_s: float | None
    memory_bytes: int | None
    cache_bytes: int | None


@cache
def hierarchies() -> Hierarchies:
    """How this machine mounts its control groups; CapabilityError when it has none we can use."""
    found = read_mounts(_MOUNTS.read_text())
    missing = [name for name in _CONTROLLERS if name not in found.mounts]
    if missing:
        raise CapabilityError(
            f"control groups lack {', '.join(missing)}",
            resolution="mount cgroup2 at /sys/fs/cgroup, or the version 1 controllers",
        )
    return found


def read_mounts(mountinfo: str) -> Hierarchies:
    """Finds the controllers in the text of proc_pid_mountinfo(5)."""
    version_1: dict[str, Path] = {}
    version_2: Path | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mount, writable = Path(left.split()[4]), "ro" not in left.split()[5].split(",")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup":
            version_1 |= {name: mount for name in options.split(",") if name in _CONTROLLERS}
        elif kind == "cgroup2" and writable and version_2 is None:
            version_2 = mount
    if len(version_1) == len(_CONTROLLERS) or version_2 is None:
        return Hierarchies(False, version_1, version_2)
    return Hierarchies(True, dict.fromkeys(_CONTROLLERS, version_2), version_2)


class Cgroup:
    """A group of ours, named ``<lab>/<member>`` below a ``whimbrel`` group.

    Its own processes lie in a leaf, as other groups may be made within it: ``make_inner``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._where = hierarchies()

    def folder(self, controller: str) -> Path:
        """The group's folder under one controller."""
        return self._where.mounts[controller] / _TOP / self.name

    @property
    def folders(self) -> Sequence[Path]:
        """Every folder that makes up the group, each once."""
        return sorted(mount / _TOP / self.name for mount in self._mounts)

    @property
    def _mounts(self) -> set[Path]:
        core = self._where.core
        return {self._where.mounts[controller] for controller in _CONTROLLERS} | ({core} if core is not None else set())

    @property
    def procs_files(self) -> Sequence[Path]:
        """What a process writes ``0`` into to join."""
        return self.inner_procs_files(_OWN)

    def inner_procs_files(self, inner: str) -> Sequence[Path]:
        """What a process writes ``0`` into to join a group within this one; in version 1 it joins this one itself."""
        core = self._where.core
        return [(mount / _TOP / self.name / (inner if mount == core else "") / "cgroup.procs") for mount in sorted(self._mounts)]

    def make_inner(self, inner: str) -> None:
        """Makes a group within this one, in version 2 only: what is in it counts here, and it may have groups of its own."""
        if self._where.core is None:
            raise CapabilityError(
                "version 2 of control groups is not mounted", resolution="mount cgroup2 at /sys/fs/cgroup/unified"
            )
        (self._where.core / _TOP / self.name / inner).mkdir(parents=True, exist_ok=True)

    def create(self, *, cpus: Sequence[int], memory_bytes: int | None) -> None:
        """Makes the group; its processes run on ``cpus`` only and take at most ``memory_bytes``."""
        if self._where.unified:
            self._delegate()
        for procs_file in self.procs_files:
            procs_file.parent.mkdir(parents=True, exist_ok=True)
        cpuset = self.folder("cpuset")
        if not self._where.unified:
            _inherit_cpuset(cpuset)
        (cpuset / "cpuset.cpus").write_text(",".join(str(cpu) for cpu in cpus))
        if memory_bytes is not None:
            limit = "memory.max" if self._where.unified else "memory.limit_in_bytes"
            (self.folder("memory") / limit).write_text(str(memory_bytes))

    def _delegate(self) -> None:
        """Version 2 hands controllers down one level at a time; this group hands them to those within it."""
        mount = self._where.mounts["memory"]
        parts = Path(_TOP, self.name).parts
        levels = [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        for level in levels:
            level.mkdir(exist_ok=True)
            (level / "cgroup.subtree_control").write_text("+cpuset +memory")

    def processes(self) -> list[ProcessId]:
        """Every process in the group, by its id outside any namespace."""
        return _processes_in(self.folders)

    def inner_processes(self, inner: str) -> list[ProcessId]:
        """Every process in a group within this one, by its id outside any namespace; none where there is no version 2."""
        core = self._where.core
        return _processes_in([core / _TOP / self.name / inner] if core is not None else [])

    def usage(self) -> Usage:
        """CPU time, memory apart from page cache, and page cache."""
        memory = self.folder("memory")
        if self._where.unified:
            stat = _table(memory / "memory.stat")
            cpu = _table(memory / "cpu.stat").get("usage_usec")
            return Usage(cpu / 1e6 if cpu is not None else None, *_apart(stat, "anon", "file", "shmem"))
        stat = _table(memory / "memory.stat")
        cpu_ns = _number(self.folder("cpuacct") / "cpuacct.usage")
        return Usage(cpu_ns / 1e9 if cpu_ns is not None else None, *_apart(stat, "total_rss", "total_cache", "total_shmem"))

    def kill(self, patience_s: float = 15.0) -> None:
        """Ends every process of the group: first the inits of PID namespaces, which take the rest with them."""
        deadline = Deadline(patience_s)
        while members := self.processes():
            for member in sorted(members, key=lambda member: (member.pids_inside[-1:] != (1,), len(member.pids_inside))):
                member.kill(deadline.left_s)
            if deadline.passed:
                raise CleanUpError(f"{len(members)} processes of {self.name} do not end", details=_named(members))
            pause(0.01)

    def remove_inner(self, inner: str) -> None:
        """Removes a group within it, with all that was made in that; their processes must have ended."""
        if self._where.core is not None:
            _remove_folder(self._where.core / _TOP / self.name / inner)

    def remove(self) -> None:
        """Removes the group and its parents where they are empty; its processes must have ended."""
        for folder in self.folders:
            _remove_folder(folder)
            for parent in folder.parents:
                if parent in self._mounts:
                    break
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _processes_in(folders: Iterable[Path]) -> list[ProcessId]:
    found: set[int] = set()
    for folder in folders:
        for procs in folder.rglob("cgroup.procs"):
            # A group within it may go at any moment (then reading says ENODEV).
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in procs.read_text().split()}
    return [identity for pid in sorted(found) if (identity := ProcessId.of(pid)) is not None]


def _apart(stat: dict[str, int], own: str, cached: str, shared: str) -> tuple[int | None, int | None]:
    """Memory, and page cache: the kernel counts shared memory and what lies in a tmpfs as cache, which cannot be given up."""
    if own not in stat or cached not in stat:
        return None, None
    kept = stat.get(shared, 0)
    return stat[own] + kept, stat[cached] - kept


def _inherit_cpuset(folder: Path) -> None:
    """A version 1 cpuset starts empty; fills it and its new parents from the top down."""
    for level in (folder.parent.parent, folder.parent, folder):
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not (level / file).read_text().strip():
                (level / file).write_text((level.parent / file).read_text().strip())


def _remove_folder(folder: Path) -> None:
    deadline = Deadline(5)
    while folder.exists():
        try:
            for inner in sorted((inner for inner in folder.rglob("*") if inner.is_dir()), reverse=True):
                inner.rmdir()
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # A process that has just ended keeps its group busy for a moment.
            if deadline.passed:
                raise CleanUpError(f"the control group {folder} cannot be removed", details=str(error)) from error
            pause(0.02)


def _named(members: Sequence[ProcessId]) -> str:
    names = []
    for member in members:
        with contextlib.suppress(OSError):
            names.append(f"{member.pid} ({Path(f'/proc/{member.pid}/comm').read_text().strip()})")
    return ", ".join(names)


def _table(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(" ") for line in lines) if value.isdigit()}


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return None


def machine_cpus() -> list[int]:
    """The CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))
