"""Harm done to moves by each technique of VMs: the guest goes on on one side, or it is said that it cannot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bad_days import assert_a_new_try_succeeds, assert_it_is_true, harmed_trial
from tests.deployments import Deployed, put_up
from tests.fakes import FakeJournal
from tests.lab.test_bad_days import in_guest_after
from tests.lab.test_storage import images
from tests.saboteur import kill_program, power_cut, set_link
from whimbrel.deployment.standing import subject_of
from whimbrel.errors import ReservationError, UnsafeStateError
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.migrate.techniques import technique_of
from whimbrel.spec.migration import TechniqueName
from whimbrel.spec.overrides import migration_with
from whimbrel.system.deadline import pause

# Slow enough to be met in the middle of sending, by techniques that send while the guest runs or stands still.
SLOW = "bandwidth=10 MiB/s"
TECHNIQUES: tuple[TechniqueName, ...] = ("paused", "pre-copy", "post-copy", "pre-post-copy", "cold")
# A step of the journal at which the source still has its guest, whole.
EARLY: dict[str, str] = dict.fromkeys(TECHNIQUES, "reserved")


# When it goes over to post-copy, where that is not at once.
SWITCH = {"pre-post-copy": ["pre_copy_for=2 s"]}


def options(technique: str) -> list[str]:
    return [] if technique == "cold" else [SLOW, *SWITCH.get(technique, [])]


pytestmark = pytest.mark.long


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_destination_short_of_memory_is_refused(deployed: Deployed, technique: str) -> None:
    lab = deployed.lab
    migration = migration_with(deployed.deployment.spec.migration, technique, options(technique))
    request = subject_of(deployed.deployment, lab, migration, ("a", "b"), lab.hosts).request
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
        assert deployed.lab.hosts["a"].state_of(deployed.lab.guest) == "runs"
        [moved] = deployed.ended
        assert moved.error is not None
        assert moved.stored.record.outcome.runs_on == ["a"]
    finally:
        deployed.lab.mend()
    assert deployed.move("b", "pre-copy").error is None


def test_a_destination_that_dies_while_the_guest_boots_there_gives_it_back(deployed: Deployed) -> None:
    moving = deployed.begin("b", "cold")
    deployed.come_to("boot there")
    power_cut("b")(deployed.lab)
    moving.join(400)
    assert not moving.is_alive()
    try:
        [moved] = deployed.ended
        assert moved.error is not None
        assert "host b has died" in str(moved.error)
        assert moved.stored.record.outcome.runs_on == ["a"]
    finally:
        deployed.lab.mend()
    assert deployed.copies() == ["a"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_libvirtd_that_dies_while_the_guest_boots_there_makes_no_two_of_it(deployed: Deployed, wanted: bool) -> None:
    moving = deployed.begin("b", "cold")
    deployed.come_to("boot there")
    deployed.wait_for(lambda: deployed.lab.hosts["b"].state_of(deployed.lab.guest) == "runs", "its boot on host b")
    # QEMU runs on, and the server starts its libvirtd again.
    kill_program("b", "libvirtd")(deployed.lab)
    if not wanted:
        assert deployed.abort() == "aborted"
    moving.join(400)
    assert not moving.is_alive()
    assert deployed.copies() == (["b"] if wanted else ["a"])
    assert deployed.move("a" if wanted else "b", "pre-copy").error is None


def test_a_destination_that_dies_after_the_guest_went_on_there_takes_it_along(
    mended: Lab, states: StateStore, tmp_path: Path
) -> None:
    # Of pre-copy test_bad_days has this, among all phases.
    option = "migration.technique=paused"
    stored = harmed_trial(mended, states, power_cut("b"), "activation", tmp_path / "harmed", option)
    print(stored.record.outcome)
    # What was sent may have run and written since: the source does not go on as if nothing had been.
    assert stored.record.outcome.runs_on == []
    assert_it_is_true(mended, stored)
    assert_a_new_try_succeeds(mended, states, tmp_path / "again", option)


@pytest.mark.parametrize("technique", ["post-copy", "pre-post-copy"])
def test_a_destination_that_dies_after_the_switch_loses_the_guest_and_that_is_said(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin_post_copy(technique, *SWITCH.get(technique, []))
    power_cut("b")(deployed.lab)
    moving.join(180)
    deployed.lab.mend()
    with pytest.raises(UnsafeStateError, match="--boot-anew"):
        deployed.recover()
    where, _ = deployed.recover(boot_anew=True)
    assert deployed.copies() == [where]


@pytest.mark.parametrize("technique", ["paused", "pre-copy", "pre-post-copy"])
def test_a_link_that_is_cut_for_good_leaves_the_guest_where_it_was(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, SLOW, "timeout=8 s", *(["pre_copy_for=60 s"] if "post" in technique else []))
    deployed.come_to("reserved")
    pause(1)
    set_link(deployed.lab, "b", "down")
    try:
        moving.join(300)
        assert not moving.is_alive()
    finally:
        set_link(deployed.lab, "b", "up")
    [moved] = deployed.ended
    assert moved.error is not None
    assert moved.stored.record.outcome.runs_on == ["a"]


@pytest.mark.parametrize("technique", ["pre-copy", "post-copy", "pre-post-copy"])
def test_a_guest_that_powers_itself_off_meanwhile_is_not_said_to_run(deployed: Deployed, technique: str) -> None:
    in_guest_after(6, "echo o >/proc/sysrq-trigger")(deployed.lab)
    moving = deployed.begin("b", technique, *options(technique))
    moving.join(400)
    assert not moving.is_alive()
    [moved] = deployed.ended
    assert isinstance(moved.error, UnsafeStateError)
    assert moved.stored.record.outcome.runs_on == []
    where, _ = deployed.recover(boot_anew=True)
    assert deployed.copies() == [where]


def test_a_guest_that_loses_its_power_while_it_shuts_down_boots_there_all_the_same(deployed: Deployed) -> None:
    moving = deployed.begin("b", "cold")
    deployed.come_to("shutting down")
    with deployed.at_the_source() as guest:
        guest.destroy()
    moving.join(400)
    [moved] = deployed.ended
    assert moved.error is None, moved.error
    assert deployed.copies() == ["b"]


def assert_a_cut_only_delays_it(deployed: Deployed, moving: threading.Thread) -> None:
    """The link is out for three seconds, from now on."""
    set_link(deployed.lab, "b", "down")
    pause(3)
    set_link(deployed.lab, "b", "up")
    moving.join(400)
    [moved] = deployed.ended
    assert moved.error is None, moved.error
    assert deployed.copies() == ["b"]


@pytest.fixture
def with_its_disk(lab: Lab, tmp_path: Path) -> Iterator[Deployed]:
    with put_up(lab, tmp_path, "migration.storage=full") as found:
        yield found


@pytest.mark.parametrize(("technique", "word"), [("pre-copy", "disk made ready"), ("cold", "powered off")])
def test_it_is_aborted_while_its_disk_is_copied(with_its_disk: Deployed, technique: str, word: str) -> None:
    moving = with_its_disk.begin("b", technique, SLOW)
    with_its_disk.come_to(word)
    pause(2)
    assert with_its_disk.abort() == "aborted"
    moving.join(400)
    assert with_its_disk.copies() == ["a"]
    assert images(with_its_disk.lab.hosts["b"]) == []


@pytest.mark.parametrize(("technique", "word"), [("pre-copy", "disk made ready"), ("cold", "powered off")])
def test_it_is_aborted_though_nothing_of_its_disk_gets_through(with_its_disk: Deployed, technique: str, word: str) -> None:
    moving = with_its_disk.begin("b", technique, "bandwidth=40 MiB/s")
    with_its_disk.come_to(word)
    pause(2)
    set_link(with_its_disk.lab, "b", "down")
    try:
        pause(2)
        assert with_its_disk.abort() == "aborted"
        moving.join(400)
    finally:
        set_link(with_its_disk.lab, "b", "up")
    assert with_its_disk.copies() == ["a"]
    with_its_disk.wait_for(lambda: images(with_its_disk.lab.hosts["b"]) == [], "the destination's image to be gone")


def test_it_is_aborted_though_nothing_of_its_memory_gets_through_beside_its_disk(lab: Lab, tmp_path: Path) -> None:
    with put_up(lab, tmp_path, "migration.storage=incremental") as deployed:
        moving = deployed.begin("b", "pre-copy", SLOW)
        deployed.come_to_memory()
        set_link(lab, "b", "down")
        try:
            pause(2)
            assert deployed.abort() == "aborted"
            moving.join(400)
        finally:
            set_link(lab, "b", "up")
        assert deployed.copies() == ["a"]
        deployed.wait_for(lambda: images(lab.hosts["b"]) == [], "the destination's image to be gone")


@pytest.mark.parametrize(("technique", "word"), [("pre-copy", "disk made ready"), ("cold", "powered off")])
def test_a_link_that_is_cut_for_three_seconds_only_delays_its_disk(with_its_disk: Deployed, technique: str, word: str) -> None:
    moving = with_its_disk.begin("b", technique, "bandwidth=40 MiB/s")
    with_its_disk.come_to(word)
    pause(2)
    assert_a_cut_only_delays_it(with_its_disk, moving)
    assert images(with_its_disk.lab.hosts["a"]) == []


@pytest.mark.parametrize("technique", ["paused", "pre-copy", "post-copy", "pre-post-copy"])
def test_a_link_that_is_cut_for_three_seconds_only_delays_it(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("post-copy" if "post" in technique else "reserved")
    pause(1)
    assert_a_cut_only_delays_it(deployed, moving)


@pytest.mark.parametrize("technique", ["paused", "pre-copy", "pre-post-copy"])
def test_each_is_aborted_while_the_source_has_its_guest(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin("b", technique, *options(technique))
    deployed.come_to("reserved")
    pause(1)
    assert deployed.abort() == "aborted"
    moving.join(60)
    assert deployed.copies() == ["a"]
    assert deployed.move("b", technique).error is None


@pytest.mark.parametrize(
    ("technique", "sets", "word"),
    [("pre-copy", (SLOW, "timeout=3 s", "on_timeout=stop-and-copy"), "stop and copy"), ("cold", (), "boot there")],
)
def test_each_is_aborted_while_the_guest_stands_still(
    deployed: Deployed, technique: str, sets: tuple[str, ...], word: str
) -> None:
    # What is sent while the guest stands still is sent as fast as the link goes, whatever 'bandwidth' says.
    deployed.lab.network.shape_links(4e6)
    try:
        moving = deployed.begin("b", technique, *sets)
        deployed.come_to(word)
        pause(2)
        assert deployed.abort() == "aborted"
        moving.join(400)
    finally:
        deployed.lab.network.shape_links(deployed.lab.spec.link_rate_bytes_per_s)
    assert deployed.copies() == ["a"]
    assert deployed.move("b", technique).error is None


@pytest.mark.parametrize("technique", ["post-copy", "pre-post-copy"])
def test_a_source_that_dies_after_the_switch_loses_the_guest_and_that_is_said(deployed: Deployed, technique: str) -> None:
    moving = deployed.begin_post_copy(technique, *SWITCH.get(technique, []))
    kill_program("a", "qemu-system")(deployed.lab)
    moving.join(300)
    [moved] = deployed.ended
    assert isinstance(moved.error, UnsafeStateError)
    assert moved.stored.record.outcome.result == "unsafe"
    with pytest.raises(UnsafeStateError, match="--boot-anew"):
        deployed.recover()
    where, _ = deployed.recover(boot_anew=True)
    assert deployed.copies() == [where]
