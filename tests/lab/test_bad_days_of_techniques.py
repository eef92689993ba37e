"""Harm done to moves by each technique of VMs: the guest goes on on one side, or it is said that it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.deployments import Deployed
from tests.fakes import FakeJournal
from tests.saboteur import kill_program, power_cut, set_link
from whimbrel.deployment.moving import ask_to_abort, request_for
from whimbrel.errors import ReservationError, UnsafeStateError
from whimbrel.migrate.techniques import technique_of
from whimbrel.spec.migration import TechniqueName
from whimbrel.spec.overrides import migration_with
from whimbrel.system.deadline import pause

# Slow enough to be met in the middle of sending, by techniques that send while the guest runs or stands still.
SLOW = "bandwidth=10 MiB/s"
TECHNIQUES: tuple[TechniqueName, ...] = ("paused", "pre-copy", "post-copy", "pre-post-copy", "cold")
# A step of the journal at which the source still has its guest, whole.
EARLY: dict[str, str] = dict.fromkeys(TECHNIQUES, "reserved")


def options(technique: str) -> list[str]:
    switch = ["pre_copy_for=2 s"] if technique == "pre-post-copy" else []
    return [] if technique == "cold" else [SLOW, *switch]


pytestmark = pytest.mark.long


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_destination_short_of_memory_is_refused(deployed: Deployed, technique: str) -> None:
    lab = deployed.lab
    migration = migration_with(deployed.deployment.spec.migration, technique, options(technique))
    request = request_for(deployed.deployment, lab, migration, "a", (lab.host_a, lab.host_b))
    with pytest.raises(ReservationError, match="cannot set aside"):
        technique_of(migration).move(replace(request, memory_bytes=2**40), FakeJournal())
    assert deployed.copies() == ["a"]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_destination_that_dies_before_the_switch_leaves_the_guest_where_it_was(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("reserved")
    power_cut("b")(deployed.lab)
    moving.join(400)
    assert not moving.is_alive()
    try:
        assert deployed.lab.host_a.state_of("guest") == "runs"
        [moved] = deployed.ended
        assert moved.error is not None
        assert moved.stored.record.outcome.runs_on == ["a"]
    finally:
        deployed.lab.mend()
    assert deployed.move("b", "pre-copy").error is None


@pytest.mark.parametrize("technique", ["paused", "pre-copy", "post-copy", "pre-post-copy"])
def test_a_link_that_is_cut_for_three_seconds_only_delays_it(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("post-copy" if "post" in technique else "reserved")
    pause(1)
    set_link(deployed.lab, "b", "down")
    pause(3)
    set_link(deployed.lab, "b", "up")
    moving.join(300)
    [moved] = deployed.ended
    assert moved.error is None, moved.error
    assert deployed.copies() == ["b"]


@pytest.mark.parametrize("technique", ["paused", "pre-copy", "pre-post-copy"])
def test_each_is_aborted_while_the_source_has_its_guest(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("reserved")
    pause(1)
    assert ask_to_abort(deployed.deployment) == "aborted"
    moving.join(60)
    assert deployed.copies() == ["a"]
    assert deployed.move("b", technique).error is None


@pytest.mark.parametrize("technique", ["post-copy", "pre-post-copy"])
def test_a_source_that_dies_after_the_switch_loses_the_guest_and_that_is_said(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("post-copy")
    kill_program("a", "qemu-system")(deployed.lab)
    moving.join(300)
    [moved] = deployed.ended
    assert isinstance(moved.error, UnsafeStateError)
    assert moved.stored.record.outcome.result == "unsafe"
    with pytest.raises(UnsafeStateError, match="--boot-anew"):
        deployed.recover()
    where, _ = deployed.recover(boot_anew=True)
    assert deployed.copies() == [where]
