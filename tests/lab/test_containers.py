"""Containers move between carriers with their viewers connected, and what left is what arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import FakeJournal
from tests.labs import quick
from tests.spectators import spectators
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ReservationError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import HOME, Carrier, announce
from whimbrel.guests.carrier_states import CarrierStates
from whimbrel.lab.lab import Lab
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.technique import MoveReport, MoveRequest
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec


@dataclass
class Carriers:
    """Two carriers; the container runs on the first."""

    lab: Lab
    a: Carrier
    b: Carrier

    def move(self, technique: ContainerTechniqueName, source: Carrier, destination: Carrier, journal: FakeJournal) -> MoveReport:
        hosts = {"a": self.lab.host_a, "b": self.lab.host_b}
        request = MoveRequest(
            guest="origin", source=hosts[source.name], destination=hosts[destination.name], memory_bytes=0, disk_bytes=0,
            spec=MigrationSpec.model_validate({"timeout": "120 s"}), carriers=(source, destination),
        )  # fmt: skip
        return ContainerMove(technique).move(request, journal)


@pytest.fixture(scope="module")
def states(lab: Lab) -> CarrierStates:
    spec = quick()
    return CarrierStates(lab, spec.guest, spec.stream)


@pytest.fixture
def carriers(lab: Lab, states: CarrierStates) -> Iterator[Carriers]:
    with ExitStack() as stack:
        found = {}
        for host, state in ((lab.host_a, states.get("a", "serving", 1)), (lab.host_b, states.get("b", "waiting", 1))):
            connection = stack.enter_context(Connection.open(host.libvirt_uri))
            agent, _ = the_guest.restore(lab, connection, state.folder, state.berth.disk)
            stack.callback(the_guest.take_power_away, host)
            found[host.name] = Carrier(host, agent, state.berth.address)
        announce(found["a"].inside)
        yield Carriers(lab, found["a"], found["b"])


class Saboteur(FakeJournal):
    """Does harm, once, when a side has said something."""

    def __init__(self, word: str, harm: Callable[[], object]) -> None:
        super().__init__()
        self._word = word
        self._harm: Callable[[], object] | None = harm

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        super().quote(host, name, realtime_ns)
        if name == self._word and self._harm is not None:
            harm, self._harm = self._harm, None
            harm()


# As soon as there is one.
KILL_PAGE_SERVER = """nohup bash -c 'while sleep 0.02; do
    for process in /proc/[0-9]*; do
        read -r name <"$process/comm" && [ "$name" = criu ] && kill -KILL "${process#/proc/}" && exit
    done
done' >/dev/null 2>&1 &"""
# A transfer that changes what it carries: one bit in the small images.
TAMPERING = """#!/bin/sh
if [ "$2" = 7002 ]; then /usr/bin/nc "$@" | tr e f; else exec /usr/bin/nc "$@"; fi
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("technique", "harm"), [("pre-copy", "page server killed"), ("checkpoint", "images tampered"), ("post-copy", "carrier ended"),
                            ("checkpoint", "link cut")]
)  # fmt: skip
def test_after_harm_the_container_goes_on_where_it_was(
    carriers: Carriers, technique: ContainerTechniqueName, harm: str, tmp_path: Path
) -> None:
    lab, destination = carriers.lab, carriers.b.inside
    harms: dict[str, tuple[str, Callable[[], object]]] = {
        "page server killed": ("connected", lambda: destination.shell(KILL_PAGE_SERVER)),
        "images tampered": ("", lambda: None),
        "carrier ended": ("frozen", lambda: the_guest.take_power_away(lab.host_b)),
        "link cut": ("frozen", lambda: destination.shell("ip link set eth0 nomaster")),
    }
    if harm == "images tampered":
        destination.write("/usr/local/bin/nc", TAMPERING)
        destination.shell("chmod +x /usr/local/bin/nc")
    with spectators(lab, tmp_path, viewers=0) as seen:
        report = carriers.move(technique, carriers.a, carriers.b, Saboteur(*harms[harm]))
        assert report.result == "failed", report
        print(harm, report.error)
        assert report.error is not None
        states = [carrier.state_of("origin") for carrier in (carriers.a, carriers.b)]
        assert states == ["runs", "absent"]
    seen.assert_it_went_on()


def test_a_carrier_without_room_refuses_and_nothing_moves(carriers: Carriers) -> None:
    # What it has written counts as well, and goes into memory there.
    carriers.a.inside.shell(f"fallocate -l 900M {HOME}/upper/large")
    with pytest.raises(ReservationError, match="has no room for origin"):
        carriers.move("checkpoint", carriers.a, carriers.b, FakeJournal())
    assert [carrier.state_of("origin") for carrier in (carriers.a, carriers.b)] == ["runs", "absent"]


@pytest.mark.parametrize("technique", ["checkpoint", "pre-copy", "post-copy", "restart"])
def test_a_container_moves_with_its_viewers(carriers: Carriers, technique: ContainerTechniqueName, tmp_path: Path) -> None:
    with spectators(carriers.lab, tmp_path) as seen:
        report = carriers.move(technique, carriers.a, carriers.b, FakeJournal())
        assert report.result == "moved", report.error
        assert [carrier.state_of("origin") for carrier in (carriers.a, carriers.b)] == ["absent", "runs"]
    if technique == "restart":
        seen.assert_it_started_again()
    else:
        seen.assert_it_went_on()
