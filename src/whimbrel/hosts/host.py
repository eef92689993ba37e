"""What a host can do for us. Lab servers implement it, and hosts that are only a URI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.hosts.identity import GuestIdentity, HostIdentity

GuestState = Literal["runs", "stands still", "absent"]


@dataclass(frozen=True)
class Capacity:
    """What a host could still give a guest.

    Where memory is only known within bounds ``memory_bytes`` is the upper one and ``sure_memory_bytes`` the lower; else that is
    None. ``disk_bytes`` None: nobody knows where a disk would lie.
    """

    memory_bytes: int
    disk_bytes: int | None
    sure_memory_bytes: int | None = None


@dataclass(frozen=True)
class SamplePoints:
    """Where the host sampler looks: the host's control group, and a process that sees its network links.

    ``init_pid`` None stands for the network that the sampler itself runs in.
    """

    host: str
    cgroup: str
    init_pid: int | None


@dataclass(frozen=True)
class Peering:
    """How another host reaches this one.

    ``peer_uri`` leads to its libvirtd, and a guest's memory is sent to ``move_uri``. ``certificate_name`` is whom its certificate
    is for, as a peer that sends encrypted memory must see it; None: for the host in ``move_uri``.
    """

    peer_uri: str
    move_uri: str
    certificate_name: str | None = None


class Place(Protocol):
    """Where a copy of what moves may be: a host, for a guest; a carrier on it, for a container."""

    @property
    def name(self) -> str:
        """The name of the host."""

    @property
    def gone(self) -> bool:
        """Whether it is certain that nothing runs there any more. False for one that is only silent."""

    def state_of(self, what: GuestIdentity) -> GuestState:
        """Whether a copy of this is there, and executes; EngineError when nobody answers there."""


class Access(Protocol):
    """What can be seen of a host from here, and done there."""

    @property
    def shares_our_clock(self) -> bool:
        """Whether its clocks are ours; if not, how far they are apart is measured in each trial."""

    @property
    def unmeasured(self) -> dict[str, str]:
        """What of it cannot be measured, and why."""

    def sample_points(self) -> SamplePoints | None:
        """Where the host sampler looks; None when its libvirt is all that can be asked."""

    def process_of(self, guest: GuestIdentity) -> int | None:
        """The process that runs a guest, by its number here; None when it does not run on this machine."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command that runs ``argv`` there, counted with what the host takes; CapabilityError where we cannot."""

    def logs(self) -> dict[str, str]:
        """Its logs by name, for a failed trial."""


class Host(Place, Protocol):
    """A machine that guests run on."""

    @property
    def address(self) -> str:
        """Its address in the network that it shares with the others."""

    @property
    def libvirt_uri(self) -> str:
        """How we reach its libvirtd."""

    @property
    def peering(self) -> Peering:
        """How another host reaches it."""

    @property
    def access(self) -> Access:
        """What can be seen of it from here, and done there."""

    def hypervisor(self) -> Hypervisor:
        """A connection of its own to its hypervisor, to be closed; SilentError or RefusedError when there is none to be had."""

    def identity(self) -> HostIdentity:
        """Which machine it is; EngineError when it does not say."""

    def capacity(self) -> Capacity:
        """What it could still give a guest."""


class Vantage(Protocol):
    """Where viewers and probe run."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command that runs ``argv`` there."""

    def sample_points(self) -> SamplePoints | None:
        """Where the host sampler looks; None when it cannot be seen from here."""

    @property
    def procs_files(self) -> Sequence[Path]:
        """What a process writes itself into to be counted there."""
