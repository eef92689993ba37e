"""What every technique must keep: the real ones between a lab's servers, with a guest or a container, the fake on fake hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.cells import two_cells
from tests.fakes import GUEST, FakeHost, FakeJournal, FakeTechnique
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import MoveError, ReservationError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.in_cells import FreshContainer
from whimbrel.guests.states import StateStore
from whimbrel.hosts.identity import identity_in_lab
from whimbrel.lab.lab import Lab
from whimbrel.migrate.technique import MoveRequest, Technique
from whimbrel.migrate.techniques import BY_VIRSH, CONTAINER_TECHNIQUES, TECHNIQUES, lacks
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.capabilities import Finding

pytestmark = pytest.mark.alone


@dataclass
class Stage:
    """A technique, and what it is to move from a to b; ``copies`` are the states on both.

    ``reserves`` says whether it counts the memory of what moves.
    """

    technique: Technique
    request: MoveRequest
    copies: Callable[[], list[str]]
    reserves: bool = True


def fake_stage() -> Stage:
    a, b = FakeHost("a"), FakeHost("b")
    a.guests[GUEST.uuid] = "runs"
    request = MoveRequest(GUEST, a, b, 2**30, 2**30, MigrationSpec())
    return Stage(FakeTechnique([a, b]), request, lambda: [a.state_of(GUEST), b.state_of(GUEST)])


@contextmanager
def vm_stage(lab: Lab, states: StateStore, technique: Technique, options: dict[str, str]) -> Iterator[Stage]:
    a, b = lab.hosts["a"], lab.hosts["b"]
    with Connection.open(a.libvirt_uri) as connection:
        the_guest.restore(lab, connection, lab.guest, states.get("vm", "none", 1).folder)
    spec = MigrationSpec.model_validate({"technique": technique.name, **options})
    request = MoveRequest(lab.guest, a, b, 2**30, 2**30, spec)
    try:
        yield Stage(technique, request, lambda: [a.state_of(lab.guest), b.state_of(lab.guest)], "by" not in options)
    finally:
        for server in (a, b):
            the_guest.take_power_away(server, lab.guest)


@contextmanager
def container_stage(lab: Lab, fresh: FreshContainer, technique: Technique) -> Iterator[Stage]:
    with two_cells(lab, fresh) as cells:
        # Within a cell nobody need count memory.
        yield Stage(technique, cells.request(), lambda: cells.states, reserves=False)


# A cold move boots the guest, which takes minutes where it is emulated.
REAL = [
    *(pytest.param(f"vm {name}", marks=pytest.mark.long if name == "cold" else ()) for name in TECHNIQUES),
    *(pytest.param(f"virsh {name}", marks=() if name == "pre-copy" else pytest.mark.long) for name in BY_VIRSH),
    *(f"container {name}" for name in CONTAINER_TECHNIQUES),
]


@pytest.fixture(params=["fake", *REAL])
def stage(request: pytest.FixtureRequest, lab: Lab, states: StateStore) -> Iterator[Stage]:
    what, _, name = request.param.partition(" ")
    if what == "fake":
        yield fake_stage()
    elif what == "container":
        findings: list[Finding] = request.getfixturevalue("findings")
        reason = lacks(name, findings)
        if reason is not None:
            pytest.skip(reason)
        technique = next(each for each in CONTAINER_TECHNIQUES.values() if each.name == name)
        with container_stage(lab, request.getfixturevalue("fresh"), technique) as found:
            yield found
    else:
        table, options = (BY_VIRSH, {"by": "virsh"}) if what == "virsh" else (TECHNIQUES, {})
        technique = next(each for each in table.values() if each.name == name)
        with vm_stage(lab, states, technique, options) as found:
            yield found


def test_it_refuses_before_anything_is_done_ends_where_it_began_when_it_is_not_wanted_and_moves(stage: Stage) -> None:
    """All in one, as a guest is restored once for it."""
    if stage.reserves:
        refuses_a_destination_without_room(stage)
    if stage.technique.moves == "vm":
        # A container is known by its carrier.
        refuses_a_guest_that_does_not_run_there(stage)
    ends_where_it_began_when_it_is_not_wanted(stage)
    moves_and_says_what_it_took(stage)


def refuses_a_destination_without_room(stage: Stage) -> None:
    journal = FakeJournal()
    with pytest.raises(ReservationError, match="cannot set aside"):
        stage.technique.move(replace(stage.request, memory_bytes=2**60), journal)
    assert journal.names == {"move called"}
    assert stage.copies() == ["runs", "absent"]


def refuses_a_guest_that_does_not_run_there(stage: Stage) -> None:
    other = identity_in_lab("somebody", 99, "192.0.2.99")
    with pytest.raises(MoveError, match="somebody does not run on host a"):
        stage.technique.move(replace(stage.request, what=other), FakeJournal())
    assert stage.copies() == ["runs", "absent"]


def ends_where_it_began_when_it_is_not_wanted(stage: Stage) -> None:
    report = stage.technique.move(replace(stage.request, told_to_abort=lambda: True), FakeJournal())
    assert report.result == "aborted"
    assert report.error is not None
    assert stage.copies() == ["runs", "absent"]


def moves_and_says_what_it_took(stage: Stage) -> None:
    journal = FakeJournal()
    report = stage.technique.move(stage.request, journal)
    assert (report.result, report.error) == ("moved", None)
    assert stage.copies() == ["absent", "runs"]
    assert report.called_ns <= report.returned_ns
    names = [name for _, name, _ in journal.marks]
    assert (names[0], names[-1]) == ("move called", "move returned")
    if stage.reserves:
        assert names[1] == "reserved"
        assert report.reserved_memory_bytes is not None
        # QEMU takes some itself.
        assert report.reserved_memory_bytes > stage.request.memory_bytes
    elif stage.technique.moves == "container":
        assert report.reserved_memory_bytes is None
    else:
        assert report.reserved_memory_bytes == 0
