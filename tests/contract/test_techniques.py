"""What every technique must keep: the real one on a lab's servers with a real guest, the fake on fake hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes import GUEST, FakeHost, FakeJournal, FakeTechnique
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import MoveError, ReservationError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity, identity_in_lab
from whimbrel.lab.lab import Lab
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import MoveRequest, Technique
from whimbrel.spec.migration import MigrationSpec

pytestmark = pytest.mark.alone


@dataclass
class Stage:
    technique: Technique
    source: Host
    destination: Host

    def request(self, guest: GuestIdentity = GUEST, memory_bytes: int = 2**30) -> MoveRequest:
        return MoveRequest(guest, self.source, self.destination, memory_bytes, 2**30, MigrationSpec())


@pytest.fixture(params=["pre-copy", "fake"])
def stage(request: pytest.FixtureRequest, lab: Lab, states: StateStore) -> Iterator[Stage]:
    if request.param == "fake":
        hosts = FakeHost("a"), FakeHost("b")
        hosts[0].guests[GUEST.uuid] = "runs"
        yield Stage(FakeTechnique(hosts), *hosts)
        return
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        the_guest.restore(lab, connection, lab.guest, states.get("vm", "none", 1).folder)
    try:
        yield Stage(LiveMove("pre-copy"), lab.hosts["a"], lab.hosts["b"])
    finally:
        for server in (lab.hosts["a"], lab.hosts["b"]):
            with Connection.open(server.libvirt_uri) as connection:
                found = connection.find(lab.guest.uuid)
                if found is not None:
                    found.destroy()


def test_a_move_leaves_one_copy_on_the_destination_and_says_what_it_took(stage: Stage) -> None:
    journal = FakeJournal()
    report = stage.technique.move(stage.request(), journal)
    assert report.result == "moved", report.error
    assert stage.source.state_of(GUEST) == "absent"
    assert stage.destination.state_of(GUEST) == "runs"
    assert report.called_ns <= report.returned_ns
    assert report.reserved_memory_bytes is not None
    assert report.reserved_memory_bytes > 2**30
    names = [name for _, name, _ in journal.marks]
    assert names[0] == "move called"
    assert names[-1] == "move returned"


def test_a_destination_without_room_refuses_and_nothing_moves(stage: Stage) -> None:
    with pytest.raises(ReservationError, match="cannot set aside"):
        stage.technique.move(stage.request(memory_bytes=2**60), FakeJournal())
    assert stage.source.state_of(GUEST) == "runs"
    assert stage.destination.state_of(GUEST) == "absent"


def test_a_guest_that_does_not_run_there_is_refused(stage: Stage) -> None:
    with pytest.raises(MoveError, match="does not run on host a"):
        stage.technique.move(stage.request(identity_in_lab("somebody", 99, "192.0.2.99")), FakeJournal())
