"""What whimbrel could leave on a machine, looked at from outside: before and after must be the same."""

from __future__ import annotations

from pathlib import Path

from whimbrel.system.cgroups import hierarchies
from whimbrel.system.ledger import all_ledgers
from whimbrel.system.netns import FOLDER
from whimbrel.system.places import home


def snapshot() -> dict[str, set[str]]:
    """Namespaces, groups, mounts, links, lab folders, half-made images, processes in our groups, and ledger entries."""
    groups = {
        str(path) for mount in set(hierarchies().mounts.values()) for path in (mount / "whimbrel").rglob("*") if path.is_dir()
    }
    processes = {f"{path}: {pid}" for path in groups for pid in _members(Path(path))}
    return {
        "namespaces": {path.name for path in FOLDER.glob("*")},
        "groups": groups,
        "processes": processes,
        "mounts": {line.split(" - ")[0].split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "labs": {str(path) for path in (home() / "labs").glob("*")},
        "half-made images": {str(path) for path in (home() / "images").glob("*.partial")},
        "ledgers": {f"{ledger.name}: {entry}" for ledger in all_ledgers() for entry in ledger.entries},
    }


def _members(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text().split()
    except OSError:
        return []
