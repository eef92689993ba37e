"""Moves of guests of the user's own against plain virsh, and the check of many; a lab's servers, used by their URIs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.pairs import Ratio, ratio, take_turns
from whimbrel.engines.libvirt import Connection
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.own.moving import Asked, move_own
from whimbrel.own.preflight.examine import examine_moves
from whimbrel.own.standing import Side
from whimbrel.spec.lab import LabSpec
from whimbrel.spec.migration import MigrationSpec

GUESTS = 50
_MEMORY_MIB = 1024


@dataclass
class Bench:
    """A lab with one guest that somebody else has made."""

    lab: Lab
    name: str = "bench"

    def __post_init__(self) -> None:
        self._on = "a"

    @property
    def _way(self) -> tuple[str, str]:
        return ("a", "b") if self._on == "a" else ("b", "a")

    def sides(self) -> tuple[Side, Side]:
        """From where it is to the other one."""
        source, destination = (self.lab.hosts[name] for name in self._way)
        peer = destination.peering.peer_uri
        return (
            Side(name=source.name, uri=source.libvirt_uri, address=source.address),
            Side(name=destination.name, uri=destination.libvirt_uri, address=destination.address, peer_uri=peer),
        )

    def by_us(self) -> float:
        """How long libvirt says that it took, in s."""
        moved = move_own(Asked(self.name, *self.sides(), MigrationSpec()))
        assert moved.ending.error is None, moved.ending.error
        return self._arrived()

    def by_virsh(self) -> float:
        """The same by plain virsh."""
        source, destination = (self.lab.hosts[name] for name in self._way)
        peering = destination.peering
        source.run(
            ["virsh", "migrate", "--live", "--p2p", "--persistent", "--undefinesource", self.name, peering.peer_uri,
             peering.move_uri]
        )  # fmt: skip
        return self._arrived()

    def _arrived(self) -> float:
        self._on = self._way[1]
        with Connection.open(self.lab.hosts[self._on].libvirt_uri) as connection:
            found = connection.find_named(self.name)
            assert found is not None
            stats = found.completed_job_stats()
        assert stats is not None
        return stats["time_elapsed"] / 1e3


def _description(name: str, memory_mib: int) -> str:
    return (
        f'<domain type="qemu"><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit="MiB">{memory_mib}</memory>'
        '<os><type arch="x86_64" machine="q35">hvm</type></os><features><acpi/></features><devices>'
        '<interface type="bridge"><source bridge="br0"/><model type="virtio"/></interface></devices></domain>'
    )


@contextmanager
def bench() -> Iterator[Bench]:
    """A lab at 1 Gbit/s."""
    spec = LabSpec.model_validate({"name": "own-bench", "network": "10.79.0.0/24", "link_rate": "1 Gbit/s"})
    with ledger_of(spec.name) as ledger:
        ledger.undo_all()
        lab = Lab(spec, ImageStore(), ledger)
        lab.up()
        try:
            with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
                connection.raw.defineXML(_description("bench", _MEMORY_MIB)).create()
            yield Bench(lab)
        finally:
            lab.down()


def against_virsh(here: Bench, rounds: int, note: Callable[[str], None]) -> Ratio:
    """Our total over virsh's."""
    found = take_turns({"ours": here.by_us, "virsh": here.by_virsh}, rounds, note)
    return ratio(found["ours"], found["virsh"])


def check_s(here: Bench) -> float:
    """How long it takes to say of many guests, on two hosts, whether each can move to the other one."""
    with Connection.open(here.lab.hosts["a"].libvirt_uri) as connection:
        for number in range(GUESTS):
            connection.raw.createXML(_description(f"many-{number}", 32), 1)
    source, destination = (
        Side(name=host.name, uri=host.libvirt_uri, address=host.address, peer_uri=host.peering.peer_uri)
        for host in (here.lab.hosts["a"], here.lab.hosts["b"])
    )
    began_s = time.monotonic()
    found = examine_moves([f"many-{number}" for number in range(GUESTS)], source, destination, MigrationSpec())
    assert len(found) == GUESTS
    return time.monotonic() - began_s
