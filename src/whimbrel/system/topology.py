"""Which of this machine's CPUs are threads of one core, and which cores are of another kind than others.

Kernel documentation: admin-guide/cputopology.rst; ABI/testing/sysfs-devices-system-cpu. Every file may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_DEVICES = Path("/sys/devices")
# Cores of one kind differ in their greatest frequency too (some are picked for it): up to a tenth. Kinds differ by more.
_LIKE = 1.2
# How the kernel tells kinds of cores apart, the surest first. Hybrid processors of Intel have a set of counters for each kind.
_COUNTERS = "cpu_*/cpus"


@dataclass(frozen=True)
class Core:
    """The threads of a core that may be used, and what kind of core it is; "" where all are of one kind.

    ``position`` orders cores such that those which share a socket, and caches, are beside each other.
    """

    cpus: tuple[int, ...]
    kind: str = ""
    position: tuple[int, ...] = ()


def cores_of(cpus: Sequence[int], devices: Path = _DEVICES) -> list[Core]:
    """The cores that these CPUs are threads of, by position."""
    siblings = {cpu: _siblings(devices, cpu) & set(cpus) | {cpu} for cpu in cpus}
    kinds = _kinds(devices, cpus)
    cores = {
        min(threads): Core(tuple(sorted(threads)), kinds[min(threads)], _position(devices, min(threads)))
        for threads in siblings.values()
    }
    return sorted(cores.values(), key=lambda core: core.position)


def _siblings(devices: Path, cpu: int) -> set[int]:
    return read_list(_read(devices / f"system/cpu/cpu{cpu}/topology/thread_siblings_list"))


def _position(devices: Path, cpu: int) -> tuple[int, ...]:
    folder = devices / f"system/cpu/cpu{cpu}"
    above = (_number(folder / "topology" / name) for name in ("physical_package_id", "die_id"))
    shared_cache = min(read_list(_read(folder / "cache/index3/shared_cpu_list")), default=-1)
    return (*(-1 if number is None else number for number in above), shared_cache, cpu)


def _kinds(devices: Path, cpus: Sequence[int]) -> dict[int, str]:
    by_counters = {
        cpu: file.parent.name.removeprefix("cpu_") for file in sorted(devices.glob(_COUNTERS)) for cpu in read_list(_read(file))
    }
    found = [{cpu: by_counters.get(cpu, "") for cpu in cpus}]
    for name, words, one in (("cpu_capacity", "capacity {:.0f}", 1), ("cpufreq/cpuinfo_max_freq", "up to {:.1f} GHz", 10**6)):
        figures = {cpu: _number(devices / f"system/cpu/cpu{cpu}" / name) for cpu in cpus}
        greatest = _greatest_alike({figure for figure in figures.values() if figure is not None})
        said = {cpu: words.format(greatest[figure] / one) if figure is not None else "" for cpu, figure in figures.items()}
        found.append(said)
    # Only what tells some from others is a kind.
    return next((kinds for kinds in found if len(set(kinds.values())) > 1), dict.fromkeys(cpus, ""))


def _greatest_alike(figures: set[int]) -> dict[int, int]:
    """For each figure the greatest of those that it differs from in small steps only."""
    found: dict[int, int] = {}
    above: int | None = None
    for figure in sorted(figures, reverse=True):
        found[figure] = found[above] if above is not None and above < figure * _LIKE else figure
        above = figure
    return found


def read_list(text: str) -> set[int]:
    """``0-3,8`` as the kernel writes it."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found |= set(range(int(first), int(last or first) + 1))
    return found


def write_list(cpus: Iterable[int]) -> str:
    """Writes a list as the kernel does: ``0-3,8``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.lstrip("-").isdigit() else None
