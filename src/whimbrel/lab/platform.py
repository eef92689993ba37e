"""What a lab's guests run on, and what they take of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.hosts.site import Accelerator
from whimbrel.lab.accelerator import choose_accelerator
from whimbrel.lab.server import Server
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.standby_memory import StandbyMemory


class LabPlatform:
    """QEMU and libvirt of the servers' tree. Implements ``hosts.site.Platform``."""

    emulator = "/usr/bin/qemu-system-x86_64"
    # All servers have one processor.
    cpu_model = None

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def id(self) -> str:
        """The name of the servers' tree."""
        return self._server.config.tree.parent.name

    def accelerator(self, kernel_folder: Path) -> Accelerator:
        """KVM when this kernel boots in it on the first server."""
        return choose_accelerator(self._server, kernel_folder)


class LabAccounting:
    """The lab's control groups and CPUs, and the memory that waits for a guest. Implements ``hosts.site.Accounting``."""

    def __init__(self, instruments: Cgroup, cpu_placement: dict[str, list[int]], cpu_split: str) -> None:
        self.standby_memory = StandbyMemory()
        self.cpu_placement = cpu_placement
        self.cpu_split = cpu_split
        self._instruments = instruments

    @property
    def instruments_procs(self) -> Sequence[Path]:
        """The files of the instruments' control group."""
        return self._instruments.procs_files
