"""What this machine and this checkout are, for the record."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from whimbrel.system import memory
from whimbrel.system.process import run


@dataclass(frozen=True)
class Machine:
    """The machine a lab runs on."""

    kernel: str
    cpu: str
    cpus: int
    memory_bytes: int


def machine() -> Machine:
    """What this machine is: its kernel, CPU and memory."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return Machine(platform.release(), model, os.cpu_count() or 1, memory.total_bytes())


def commit() -> str | None:
    """The commit of the checkout that runs, with ``+`` when it has changes; None outside a checkout."""
    top = Path(__file__).parents[3]
    if not (top / ".git").exists() or shutil.which("git") is None:
        return None
    git: list[str | Path] = ["git", "--no-optional-locks", "-c", f"safe.directory={top}", "-C", top]
    head = run([*git, "rev-parse", "--short=12", "HEAD"], check=False)
    if head.exit_code != 0:
        return None
    dirty = run([*git, "status", "--porcelain"], check=False).stdout.strip()
    return head.stdout.strip() + ("+" if dirty else "")
