"""A cell on each of two servers of the tests' lab, and a container that runs in the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.fakes import ORIGIN
from tests.labs import quick
from whimbrel.guests import carrier, in_cells
from whimbrel.guests.carrier import CellCarrier
from whimbrel.guests.in_cells import FreshContainer
from whimbrel.hosts.host import Host
from whimbrel.lab.criu_check import examine_criu
from whimbrel.lab.lab import Lab
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.services.nginx import STREAM
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec
from whimbrel.system.capabilities import Finding


@dataclass
class Cells:
    """A cell on each server; the container runs in the first."""

    lab: Lab
    a: CellCarrier
    b: CellCarrier

    def request(self, back: bool = False) -> MoveRequest:
        source, destination = (self.b, self.a) if back else (self.a, self.b)
        return MoveRequest(
            what=ORIGIN, source=source.host, destination=destination.host, memory_bytes=0, disk_bytes=0,
            spec=MigrationSpec.model_validate({"timeout": "60 s"}), carriers=(source, destination),
        )  # fmt: skip

    def move(self, technique: ContainerTechniqueName, journal: Journal, back: bool = False) -> MoveReport:
        return ContainerMove(technique).move(self.request(back), journal)

    @property
    def states(self) -> list[str]:
        return [each.state_of(ORIGIN) for each in (self.a, self.b)]


@contextmanager
def two_cells(lab: Lab, fresh: FreshContainer) -> Iterator[Cells]:
    with ExitStack() as stack:

        def on(host: Host) -> CellCarrier:
            cell = lab.cells.open(host)
            stack.callback(cell.close)
            in_cells.prepare(cell, fresh.parts, carrier.container_of(lab.guest), lab.network.prefix_length)
            return CellCarrier(host, cell, urlsplit(host.peering.move_uri).hostname or host.address, cell)

        found = Cells(lab, on(lab.hosts["a"]), on(lab.hosts["b"]))
        carrier.start(found.a.cell)
        carrier.announce(found.a.cell, ORIGIN)
        yield found


@pytest.fixture(scope="session")
def findings(lab: Lab) -> list[Finding]:
    """What this machine's CRIU can do."""
    return examine_criu(lab.files.store)


@pytest.fixture(scope="session")
def fresh(lab: Lab) -> FreshContainer:
    return in_cells.fresh_container(lab, STREAM, quick().stream)


@pytest.fixture
def cells(lab: Lab, fresh: FreshContainer) -> Iterator[Cells]:
    with two_cells(lab, fresh) as found:
        yield found
