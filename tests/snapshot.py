"""What whimbrel could leave on a machine, looked at from outside: before and after must be the same."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from whimbrel.system.cgroups import hierarchies
from whimbrel.system.folders import home
from whimbrel.system.ledger import all_ledgers
from whimbrel.system.netns import FOLDER


def snapshot() -> dict[str, set[str]]:
    """Namespaces, groups, mounts, links, lab folders, half-made images, processes in our groups, and ledger entries."""
    where = hierarchies()
    mounts = {*where.mounts.values(), *([where.core] if where.core is not None else [])}
    groups = {str(path) for mount in mounts for path in (mount / "whimbrel").rglob("*") if path.is_dir()}
    # By name and number: a server that was made to start again has the same programs, though not the same processes.
    programs = Counter(f"{path}: {program}" for path in groups for program in _members(Path(path)))
    processes = {f"{name} {number}" for name, count in programs.items() for number in range(1, count + 1)}
    return {
        "namespaces": {path.name for path in FOLDER.glob("*")},
        "groups": groups,
        "processes": processes,
        "mounts": {line.split(" - ")[0].split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "labs": {str(path) for path in (home() / "labs").glob("*")},
        "scratch folders": {str(path) for path in (home() / "scratch").glob("*")},
        "half-made images": {str(path) for path in (home() / "images").glob("*.partial")},
        "ledgers": {f"{ledger.name}: {entry}" for ledger in all_ledgers() for entry in ledger.entries},
    }


def _members(group: Path) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found
