"""Where a campaign happens: hosts, a vantage, and files that all hosts see. A lab is one; so are hosts by URI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from whimbrel.errors import UsageError
from whimbrel.hosts.host import Host, Vantage
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell
from whimbrel.images.store import ImageStore
from whimbrel.spec.fields import HostName
from whimbrel.system.ledger import Ledger
from whimbrel.system.standby_memory import StandbyMemory

Accelerator = Literal["kvm", "tcg"]


class GuestFiles(Protocol):
    """The guest's files, at the same path on all hosts."""

    def image(self, file: Path) -> str:
        """Where the hosts find a file of the image store."""

    def new_disk(self, backing: Path, backing_format: str) -> None:
        """Makes the guest's disk, empty over an image of the store."""

    def put_disk(self, saved: Path) -> None:
        """Makes the guest's disk a copy of one that was saved."""

    @property
    def disk(self) -> str:
        """Where the hosts find the guest's disk (qcow2)."""

    @property
    def saving(self) -> str:
        """Where a host may save the guest's state."""

    def take(self, memory: Path, disk: Path) -> None:
        """Moves what was saved, and the guest's disk, into files here."""

    def take_disk(self, disk: Path) -> None:
        """Moves the guest's disk into a file here."""


@dataclass(frozen=True)
class DiskFacts:
    """A disk's image: its size as the guest sees it, what it really holds, and the image that it lies over."""

    size_bytes: int
    held_bytes: int
    backing: str | None
    backing_format: str | None


class OwnDisk(Protocol):
    """A guest's disk (qcow2) where only one host sees it. The path is the same on every host, the image is not."""

    @property
    def path(self) -> str:
        """The path at which the host finds it."""

    def put(self, saved: Path) -> None:
        """Makes it a copy of one that was saved."""

    @property
    def there(self) -> bool:
        """Whether there is an image."""

    def facts(self) -> DiskFacts:
        """What it is, also while a guest uses it."""

    def make(self, like: DiskFacts, over_backing: bool) -> None:
        """Makes it empty and as large as another; over the same image as that one, or over none. ToolError when there is one."""

    def served(self, whole: bool) -> AbstractContextManager[str]:
        """Lets other hosts read it, at the URL that is yielded, while no guest uses it: the whole disk as a guest sees it, or the
        image as it is, which holds what lies over another.
        """

    def fetch(self, url: str, whole: bool, bytes_per_s: float | None, stop_if_unwanted: Callable[[], None]) -> None:
        """Fills it with what is served there, no faster than asked for; what is served as a whole goes into an empty image.

        ``stop_if_unwanted`` is called again and again meanwhile: what it raises ends the copying, and is raised.
        """

    def remove(self) -> None:
        """Removes it; nothing happens when there is none."""


class GuestNetwork(Protocol):
    """The network that guests, and those who ask them, are in."""

    @property
    def bridge(self) -> str:
        """The bridge on each host that guests join."""

    @property
    def prefix_length(self) -> int:
        """The length of the prefix of the network's addresses, in bits."""

    @property
    def carriers(self) -> Mapping[HostName, GuestIdentity]:
        """The carrier on each host, whose container then has the guest's address; none where there are no addresses for them."""

    @property
    def vantage(self) -> Vantage:
        """Where viewers and probe run."""

    def shape_links(self, rate_bytes_per_s: float) -> None:
        """Gives each host's link this rate, each way; UsageError where links are not ours to shape."""


class Files(Protocol):
    """Images, and the guests' own files."""

    @property
    def store(self) -> ImageStore:
        """The images on this machine."""

    def of(self, guest: GuestIdentity) -> GuestFiles:
        """The files of this VM."""

    def own_disk(self, guest: GuestIdentity, host: Host) -> OwnDisk | None:
        """The disk of this VM where only this host sees it; None where hosts have no place of their own."""


class Platform(Protocol):
    """What guests run on. A saved state depends on it."""

    @property
    def id(self) -> str:
        """The same for as long as a saved state fits."""

    @property
    def emulator(self) -> str:
        """Where the first host has the QEMU that runs the guest; the others must have one there too."""

    @property
    def cpu_model(self) -> str | None:
        """The processor that guests in KVM are given, by libvirt's name; None for all of their host's."""

    def accelerator(self, kernel_folder: Path) -> Accelerator:
        """Whether guests run in KVM or are emulated."""


class Accounting(Protocol):
    """Who takes what of this machine."""

    @property
    def standby_memory(self) -> StandbyMemory | None:
        """What keeps the memory for the next guest; None where guests do not run on this machine."""

    @property
    def instruments_procs(self) -> Sequence[Path]:
        """What an instrument writes itself into to be counted apart."""

    @property
    def cpu_placement(self) -> dict[str, list[int]]:
        """Which CPUs each member may use, where that is known."""

    @property
    def cpu_split(self) -> str | None:
        """How the hosts' CPUs stand to each other, in words; None where they are on machines of their own."""


class Cells(Protocol):
    """Room for containers on the hosts themselves."""

    def open(self, host: Host) -> Cell:
        """Makes a cell; UsageError when somebody has it, CapabilityError when this machine cannot have one."""

    def find(self, host: Host) -> Cell | None:
        """The cell that was opened on this host and left; None where there is none."""


class Site(Protocol):
    """Hosts and what a trial needs around them. Use ``up`` before anything else, and ``down`` at the end."""

    @property
    def hosts(self) -> Mapping[HostName, Host]:
        """The hosts by name, in the order of the file."""

    @property
    def guest(self) -> GuestIdentity:
        """The one guest that moves as a whole."""

    @property
    def network(self) -> GuestNetwork:
        """The network that guests are in."""

    @property
    def files(self) -> Files:
        """Images, and the guests' own files."""

    @property
    def platform(self) -> Platform:
        """What guests run on, as far as they depend on it."""

    @property
    def accounting(self) -> Accounting:
        """Who takes what of this machine."""

    @property
    def cells(self) -> Cells | None:
        """Room for containers on the hosts themselves; None where there is none."""

    @property
    def ledger(self) -> Ledger:
        """What was made on this machine and on the hosts."""

    def up(self) -> None:
        """Makes what is ours of it, and looks whether the rest can be used; nothing is left when that fails."""

    def down(self) -> None:
        """Removes everything that is ours."""

    def mend(self) -> list[str]:
        """Starts each host of ours that has died again; returns their names."""


_NO_CONTAINERS = "containers do not move between hosts by URI yet"


def first_host(site: Site) -> Host:
    """The host on which whatever is the same on all hosts is made or asked."""
    return next(iter(site.hosts.values()))


def guests_of(site: Site) -> Sequence[GuestIdentity]:
    """Every guest of ours that may be there."""
    return [site.guest, *site.network.carriers.values()]


def carrier_on(site: Site, host: HostName) -> GuestIdentity:
    """The carrier on a host; UsageError where there can be none."""
    if not site.network.carriers:
        raise UsageError(_NO_CONTAINERS, resolution="move the VM, or use a lab")
    return site.network.carriers[host]


def cells_of(site: Site) -> Cells:
    """Room for containers on the hosts themselves; UsageError where there is none."""
    if site.cells is None:
        raise UsageError(_NO_CONTAINERS, resolution="move the VM, or use a lab")
    return site.cells
