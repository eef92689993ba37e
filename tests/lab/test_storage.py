"""The guest's disk lies where only its server sees it, and moves along."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests.bad_days import assert_a_new_try_succeeds, assert_it_is_true, harmed_trial
from tests.labs import quick
from tests.lengths import some_long
from tests.saboteur import cut_link, kill_program
from tests.trials import make_trial, no_guest_runs
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.phases import PHASES, STORAGE
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.hosts.site import DiskFacts
from whimbrel.lab.lab import Lab
from whimbrel.lab.server import Server
from whimbrel.migrate.storage import disk_to_book_bytes
from whimbrel.migrate.technique import MoveRequest
from whimbrel.records.store import StoredTrial
from whimbrel.spec.migration import StorageName, TechniqueName
from whimbrel.system.deadline import pause

pytestmark = pytest.mark.alone

IMAGE = "guest.qcow2"
MOVED_ALONG = [name for name in get_args(StorageName) if name != "shared"]
# An overlay of a guest that has just settled holds a few MiB; what it lies over, hundreds.
LITTLE_BYTES = 128 * 2**20


def images(server: Server) -> list[str]:
    """What lies in the folder that only this server sees."""
    return sorted(file.name for file in server.config.own.iterdir())


def moved(lab: Lab, states: StateStore, folder: Path, *overrides: str, form: str = "vm") -> StoredTrial:
    """A trial with a witness in it: its memory, its counter, its file and its connection have come through."""
    stored = make_trial(lab, states, quick("observe.witness=true", *overrides), form, 1, folder)
    record = stored.record
    assert record.outcome.succeeded, record.outcome.error
    assert record.outcome.runs_on == ["b"]
    assert record.witness is not None
    assert record.witness.after is not None
    assert record.witness.after.file >= record.witness.before.file > 0
    assert no_guest_runs(lab)
    return stored


def assert_the_disk_is_on_b_alone(lab: Lab, storage: str) -> DiskFacts:
    """Says what that disk is."""
    assert images(lab.hosts["a"]) == []
    assert images(lab.hosts["b"]) == [IMAGE]
    disk = lab.files.own_disk(lab.guest, lab.hosts["b"])
    facts = disk.facts()
    assert (facts.backing is None) == (storage == "full")
    # 3: clusters that belong to nothing, as a QEMU leaves them that was killed; none that is damaged or belongs to two.
    assert lab.hosts["b"].run(["qemu-img", "check", "-q", disk.path], check=False).exit_code in (0, 3)
    return facts


@pytest.mark.parametrize("storage", some_long(MOVED_ALONG, short=["incremental"]))
def test_a_disk_moves_along(lab: Lab, states: StateStore, storage: str, tmp_path: Path) -> None:
    stored = moved(lab, states, tmp_path / "results", f"migration.storage={storage}")
    record, figures = stored.record, figures_of(stored)
    facts = assert_the_disk_is_on_b_alone(lab, storage)
    print(storage, facts, figures.disk_bytes, figures.total_s, figures.link_bytes)
    assert [phase.name for phase in figures.phases] == [PHASES[0], STORAGE, *PHASES[1:]]
    assert all(phase.length_s is not None and phase.length_s > 0 for phase in figures.phases)
    phases = {phase.name: phase for phase in figures.phases}
    storage_to_ns, pre_copy_from_ns = phases[STORAGE].to_ns, phases["pre-copy"].from_ns
    assert storage_to_ns is not None
    assert pre_copy_from_ns is not None
    assert storage_to_ns <= pre_copy_from_ns
    assert figures.disk_bytes is not None
    assert figures.viewers[0].connections_lost == 0
    assert record.move is not None
    if storage == "full":
        assert figures.disk_bytes > 2 * LITTLE_BYTES
        assert facts.held_bytes > 2 * LITTLE_BYTES
        assert record.move.reserved_disk_bytes == facts.size_bytes
    else:
        assert 0 < figures.disk_bytes < LITTLE_BYTES
        assert facts.held_bytes < LITTLE_BYTES
        assert record.move.reserved_disk_bytes < LITTLE_BYTES


@pytest.mark.parametrize(
    ("technique", "storage", "form"),
    [
        pytest.param("post-copy", "incremental", "vm", marks=pytest.mark.long),
        pytest.param("pre-post-copy", "full", "vm", marks=pytest.mark.long),
        pytest.param("paused", "incremental", "vm", marks=pytest.mark.long),
        pytest.param("pre-copy", "incremental", "nested", marks=pytest.mark.long),
        pytest.param("cold", "incremental", "vm", marks=pytest.mark.long),
        pytest.param("cold", "full", "vm", marks=pytest.mark.long),
    ],
)
def test_every_technique_takes_the_disk_along(
    lab: Lab, states: StateStore, technique: TechniqueName, storage: str, form: str, tmp_path: Path
) -> None:
    switch = ["migration.pre_copy_for=500 ms"] if technique == "pre-post-copy" else []
    settings = [f"migration.technique={technique}", f"migration.storage={storage}", *switch]
    stored = moved(lab, states, tmp_path / "results", *settings, form=form)
    facts = assert_the_disk_is_on_b_alone(lab, storage)
    figures = figures_of(stored)
    print(technique, storage, form, facts, figures.disk_bytes, figures.total_s)
    assert figures.disk_bytes is not None
    assert figures.disk_bytes > 0
    phase = next(phase for phase in figures.phases if phase.name == STORAGE)
    assert phase.length_s is not None
    assert phase.length_s > 0


@pytest.mark.long
@pytest.mark.parametrize("storage", MOVED_ALONG)
def test_parallel_connections_carry_memory_beside_the_disk(lab: Lab, states: StateStore, storage: str, tmp_path: Path) -> None:
    moved(lab, states, tmp_path / "results", f"migration.storage={storage}", "migration.connections=2")
    assert_the_disk_is_on_b_alone(lab, storage)


@pytest.mark.parametrize("storage", ["incremental", pytest.param("full", marks=pytest.mark.long)])
def test_a_disk_that_was_fetched_reads_as_the_one_that_was_served(lab: Lab, states: StateStore, storage: str) -> None:
    here, there = the_guest.own_disks(lab, lab.guest, lab.hosts["a"], lab.hosts["b"])
    whole = storage == "full"
    # Where the guest of the trial before has left its own; what is there is not made anew.
    there.remove()
    try:
        here.put(states.get("vm", "none", 1).folder / "disk.qcow2")
        there.make(here.facts(), not whole)
        with here.served(whole) as url:
            there.fetch(url, whole, None, lambda: None)
        with here.served(whole=True) as url:
            words = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", url, there.path]
            assert "Images are identical" in lab.hosts["b"].run(words, timeout_s=300).stdout
    finally:
        here.remove()
        there.remove()


def test_what_a_disk_is_books_its_room(lab: Lab, states: StateStore) -> None:
    disk = lab.files.own_disk(lab.guest, lab.hosts["a"])
    try:
        disk.put(states.get("vm", "none", 1).folder / "disk.qcow2")
        facts = disk.facts()
        spec = quick()
        assert facts.size_bytes == spec.guest.disk_bytes
        assert facts.backing is not None
        assert facts.backing_format == "raw"
        migration = spec.migration.model_copy(update={"storage": "incremental"})
        request = MoveRequest(lab.guest, lab.hosts["a"], lab.hosts["b"], 2**30, 2**30, migration)
        assert 0 < disk_to_book_bytes(request, facts) < LITTLE_BYTES
    finally:
        disk.remove()
    assert images(lab.hosts["a"]) == []


# The copy of an overlay is over before it can be harmed.
@pytest.mark.parametrize(
    ("storage", "phase"),
    [
        pytest.param("full", "storage", marks=pytest.mark.long),
        ("incremental", "pre-copy"),
        pytest.param("full", "pre-copy", marks=pytest.mark.long),
    ],
)
def test_a_failure_leaves_the_guest_and_its_disk_on_a_and_nothing_on_b(
    mended: Lab, states: StateStore, storage: str, phase: str, tmp_path: Path
) -> None:
    option = f"migration.storage={storage}"
    stored = harmed_trial(mended, states, kill_program("b", "qemu-system"), phase, tmp_path / "harmed", option)
    print(stored.record.outcome)
    assert stored.record.outcome.runs_on == ["a"]
    assert_it_is_true(mended, stored)
    assert images(mended.hosts["a"]) == [IMAGE]
    assert images(mended.hosts["b"]) == []
    assert_a_new_try_succeeds(mended, states, tmp_path / "again", option)
    assert_the_disk_is_on_b_alone(mended, storage)


@pytest.mark.parametrize("option", ["on_timeout=post-copy", pytest.param("technique=cold", marks=pytest.mark.long)])
def test_a_disk_that_takes_too_long_is_given_up(lab: Lab, states: StateStore, option: str, tmp_path: Path) -> None:
    # Neither disk nor memory fits into the time; post-copy would not hasten the disk.
    overrides = ("migration.storage=full", "migration.bandwidth=2 MiB/s", "migration.timeout=3 s", f"migration.{option}")
    record = make_trial(lab, states, quick(*overrides), "vm", 1, tmp_path / "results").record
    assert record.outcome.result == "aborted", record.outcome.error
    assert record.outcome.runs_on == ["a"]
    assert record.outcome.error is not None
    assert "phase storage" in record.outcome.error
    assert images(lab.hosts["b"]) == []


@pytest.mark.long
def test_a_link_that_is_cut_for_good_while_the_disk_is_copied(mended: Lab, states: StateStore, tmp_path: Path) -> None:
    def cut_in_the_middle(lab: Lab) -> None:
        pause(0.5)
        cut_link("b", None)(lab)

    options = ("migration.storage=full", "migration.timeout=20 s")
    stored = harmed_trial(mended, states, cut_in_the_middle, "storage", tmp_path / "harmed", *options)
    print(stored.record.outcome)
    assert stored.record.outcome.runs_on == ["a"]
    assert stored.record.outcome.result == "aborted"
    assert_it_is_true(mended, stored)
    assert images(mended.hosts["b"]) == []
