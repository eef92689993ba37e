"""Stand-ins for hosts and journals, held to the same contracts as the real ones (tests/contract)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whimbrel.hosts.host import Capacity, SamplePoints


class FakeHost:
    """A host with as much room as it is told; implements ``hosts.host.Host``."""

    def __init__(self, name: str = "b", memory_bytes: int = 4 * 2**30, disk_bytes: int = 100 * 2**30) -> None:
        self.name = name
        self.address = "192.0.2.1"
        self._capacity = Capacity(memory_bytes, disk_bytes)

    @property
    def libvirt_uri(self) -> str:
        return f"qemu+unix:///system?socket=/nowhere/{self.name}"

    @property
    def peer_uri(self) -> str:
        return f"qemu+tcp://{self.name}/system"

    @property
    def move_uri(self) -> str:
        return f"tcp://{self.address}"

    @property
    def gone(self) -> bool:
        return False

    def capacity(self) -> Capacity:
        return self._capacity

    def sample_points(self) -> SamplePoints:
        return SamplePoints(host=self.name, cgroup=f"fake/{self.name}", init_pid=1)

    def logs(self) -> dict[str, str]:
        return {f"{self.name}-libvirtd.log": "nothing happened\n"}


class FakeVantage:
    """A vantage where we are; implements ``hosts.host.Vantage``."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        return argv

    def sample_points(self) -> SamplePoints | None:
        return None

    @property
    def procs_files(self) -> Sequence[Path]:
        return ()


class FakeJournal:
    """Keeps what it is told; implements ``migrate.technique.Journal``."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, str, dict[str, Any]]] = []

    def mark(self, name: str, **data: Any) -> int:
        self.marks.append((len(self.marks), name, data))
        return len(self.marks) - 1
