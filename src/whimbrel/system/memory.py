"""This machine's memory, as its kernel tells it (proc_meminfo(5))."""

from __future__ import annotations

from pathlib import Path

from whimbrel.errors import CapabilityError

MEMINFO = Path("/proc/meminfo")


def read_meminfo(text: str) -> dict[str, int]:
    """Every figure of the file that is an amount of memory, in bytes, by the kernel's name."""
    words = (line.replace(":", " ").split() for line in text.splitlines())
    return {found[0]: int(found[1]) * 1024 for found in words if len(found) == 3 and found[2] == "kB"}


def total_bytes() -> int:
    """All the memory that the kernel manages."""
    return _ask("MemTotal")


def available_bytes() -> int:
    """What could be taken without swapping: page cache is given up when asked for, shared memory is not."""
    return _ask("MemAvailable")


def _ask(name: str) -> int:
    found = read_meminfo(MEMINFO.read_text())
    if name not in found:
        raise CapabilityError(f"{MEMINFO} does not say {name}", resolution="a kernel of 2014 (3.14) or later says it")
    return found[name]
