"""What a recovery takes from the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeJournal
from whimbrel.migrate.intentions import intention_of
from whimbrel.migrate.journal import WrittenJournal, note_booted_anew, note_end, read_history
from whimbrel.migrate.recovery import Intention
from whimbrel.spec.migration import MigrationSpec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "move.jsonl"


def intention(file: Path, boot_anew: bool = False) -> Intention:
    return intention_of(read_history(file), boot_anew)


def written(file: Path, spec: MigrationSpec, *steps: str) -> None:
    journal = WrittenJournal(file, FakeJournal())
    journal.begin("a", "b", spec)
    for step in steps:
        journal.mark(step)


def test_without_a_move_there_is_only_the_wish(file: Path) -> None:
    assert intention(file, boot_anew=True) == Intention(boot_anew=True)


@pytest.mark.parametrize(
    ("storage", "steps", "between"),
    [
        ("shared", ["shutting down"], True),
        ("shared", ["shutting down", "powered off", "boot there"], True),
        ("full", ["shutting down", "powered off", "disk copy begun"], True),
        # Its disk may have been written to at the destination.
        ("full", ["shutting down", "powered off", "disk copied", "boot there"], False),
    ],
)
def test_what_was_shut_down_has_its_newest_disk_at_its_source_until_it_boots_elsewhere(
    file: Path, storage: str, steps: list[str], between: bool
) -> None:
    written(file, MigrationSpec.model_validate({"technique": "cold", "storage": storage}), *steps)
    assert intention(file).between == between


def test_a_boot_is_remembered_also_after_the_end_of_the_move(file: Path) -> None:
    written(file, MigrationSpec())
    assert not intention(file).booted
    note_booted_anew(file)
    assert intention(file).booted
    note_end(file, "failed")
    assert intention(file) == Intention(booted=True)
