"""The journal on disk: what it holds after each step, and what is made of one that a crash has cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeJournal
from whimbrel.errors import UsageError
from whimbrel.migrate.journal import (
    BOOTED_ANEW,
    DamagedJournalError,
    WrittenJournal,
    note_booted_anew,
    note_end,
    note_left,
    read_history,
)
from whimbrel.spec.migration import MigrationSpec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "move.jsonl"


def begun(file: Path) -> WrittenJournal:
    journal = WrittenJournal(file, FakeJournal())
    journal.begin("a", "b", MigrationSpec(technique="post-copy"))
    return journal


def test_each_step_is_there_as_soon_as_it_is_taken(file: Path) -> None:
    journal = begun(file)
    history = read_history(file)
    assert history is not None
    assert (history.last, history.ended, history.intent.source, history.intent.spec.technique) == (
        "begun",
        None,
        "a",
        "post-copy",
    )
    journal.mark("move called")
    journal.mark("post-copy", rounds=1)
    history = read_history(file)
    assert history is not None
    assert history.last == "post-copy"
    assert history.has("move called")
    assert not history.has("powered off")


def test_the_other_journal_hears_of_it_too_and_gives_the_time(file: Path) -> None:
    beside = FakeJournal()
    journal = WrittenJournal(file, beside)
    journal.begin("a", "b", MigrationSpec())
    assert journal.mark("move called") == 0
    journal.quote("a", "frozen", 1)
    assert [name for _, name, _ in beside.marks] == ["move called", "frozen"]


def test_its_driver_lives_until_it_does_not(file: Path) -> None:
    begun(file)
    history = read_history(file)
    assert history is not None
    assert history.driven
    assert not history.intent.model_copy(update={"start_ticks": history.intent.start_ticks - 1}).alive
    assert not history.intent.model_copy(update={"clock_id": "another boot"}).alive


def test_a_move_may_be_left_by_one_that_lives(file: Path) -> None:
    begun(file)
    note_left(file)
    history = read_history(file)
    assert history is not None
    assert not history.driven
    assert history.ended is None


def test_a_move_that_has_ended_is_not_driven(file: Path) -> None:
    begun(file)
    note_end(file, "moved")
    history = read_history(file)
    assert history is not None
    assert not history.driven


def test_an_end_after_a_line_that_was_cut_off_counts(file: Path) -> None:
    begun(file)
    with file.open("a") as stream:
        stream.write('{"name": "post-')
    note_end(file, "failed")
    history = read_history(file)
    assert history is not None
    assert history.ended == "failed"


def test_an_end_is_an_end(file: Path) -> None:
    begun(file)
    note_end(file, "moved")
    history = read_history(file)
    assert history is not None
    assert history.ended == "moved"


def test_a_line_that_was_cut_off_is_a_step_that_was_not_taken(file: Path) -> None:
    begun(file).mark("move called")
    with file.open("a") as stream:
        stream.write('{"name": "post-')
    history = read_history(file)
    assert history is not None
    assert history.last == "move called"


def test_a_new_move_begins_it_anew(file: Path) -> None:
    begun(file).mark("move called")
    note_end(file, "moved")
    begun(file)
    history = read_history(file)
    assert history is not None
    assert history.ended is None


def test_none_and_nonsense(file: Path) -> None:
    assert read_history(file) is None
    file.write_text("nonsense\n")
    with pytest.raises(UsageError, match=r"move\.jsonl: is no journal"):
        read_history(file)


def test_what_was_booted_after_the_end_of_a_move_is_known(file: Path) -> None:
    begun(file)
    note_end(file, "moved")
    note_booted_anew(file)
    history = read_history(file)
    assert history is not None
    assert (history.ended, history.has(BOOTED_ANEW)) == ("moved", True)
    begun(file)
    history = read_history(file)
    assert history is not None
    assert not history.has(BOOTED_ANEW)


@pytest.mark.parametrize("damaged", ["nonsense", '{"name": 7, "data": {}}', '{"name": "x"}', '{"name": "x", "data": []}', "[]"])
def test_a_step_that_cannot_be_read_is_named_and_nothing_is_concluded(file: Path, damaged: str) -> None:
    # It may have been the order to switch: without it a recovery would let the older copy go on.
    begun(file).mark("move called")
    with file.open("a") as stream:
        stream.write(f"{damaged}\n")
    note_end(file, "moved")
    with pytest.raises(DamagedJournalError, match=r"move\.jsonl: is no journal of a move, or damaged"):
        read_history(file)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"\xff\xfe", b"[]\n"])
def test_a_journal_without_a_beginning_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DamagedJournalError, match=r"move\.jsonl"):
        read_history(file)


def test_without_room_a_step_is_refused_and_what_has_happened_keeps_its_time() -> None:
    beside = FakeJournal()
    beside.mark("earlier")
    journal = WrittenJournal(Path("/dev/full"), beside)
    with pytest.raises(OSError, match="No space left"):
        journal.mark("post-copy")
    assert journal.note("move returned") == 2
    assert [name for _, name, _ in beside.marks] == ["earlier", "post-copy", "move returned"]
