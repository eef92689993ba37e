"""A move with a journal: what is written of its end, how it is aborted, and what is said where its end cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import GUEST, FakeHost, FakeJournal, FakeTechnique
from whimbrel.errors import EngineError, TrialError, UnsafeStateError, UsageError
from whimbrel.migrate import verify
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.journal import History, read_history
from whimbrel.migrate.technique import MoveRequest
from whimbrel.moves import driving
from whimbrel.moves.driving import drive_with_journal, not_written
from whimbrel.spec.migration import MigrationSpec

FULL = OSError(28, "No space left on device")


@dataclass
class Drive:
    """A guest on host a that is moved to host b, with a journal, as the technique is told to go wrong."""

    folder: Path
    hosts: list[FakeHost] = field(default_factory=lambda: [FakeHost("a"), FakeHost("b")])
    stayed_on: list[str] = field(default_factory=list)
    trouble: Callable[[MoveRequest], str | EngineError | None] = lambda _: None

    def __post_init__(self) -> None:
        self.hosts[0].guests[GUEST.uuid] = "runs"
        self.journal_file, self.abort_file = self.folder / "move.jsonl", self.folder / "abort"

    def __call__(self) -> Ending:
        source, destination = self.hosts
        request = MoveRequest(GUEST, source, destination, 2**20, 2**20, MigrationSpec())
        drive = drive_with_journal("web", self.journal_file, self.abort_file, self.stayed_on.append)
        return drive(request, FakeJournal(), lambda: "pre-copy")

    @property
    def history(self) -> History:
        found = read_history(self.journal_file)
        assert found is not None
        return found


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    made = Drive(tmp_path)
    monkeypatch.setattr(driving, "technique_of", lambda spec: FakeTechnique(made.hosts, lambda request: made.trouble(request)))
    return made


def test_a_move_that_ended_is_written_down_as_ended(drive: Drive) -> None:
    assert drive().runs_on == ["b"]
    assert (drive.history.intent.source, drive.history.intent.destination) == ("a", "b")
    assert drive.history.ended == "moved"


def test_a_move_that_failed_is_written_down_as_failed(drive: Drive) -> None:
    drive.trouble = lambda _: "the cable came off"
    assert (drive().result, drive.history.ended) == ("failed", "failed")


def test_a_move_of_which_nobody_knows_is_left_to_be_recovered(drive: Drive) -> None:
    def lose(_: MoveRequest) -> str:
        drive.hosts[0].guests[GUEST.uuid] = "absent"
        return "the cable came off"

    drive.trouble = lose
    assert drive().result == "unsafe"
    assert (drive.history.ended, drive.history.driven) == (None, False)


@pytest.mark.parametrize(("runs_on", "ended"), [("a", "aborted"), ("b", "moved")])
def test_an_interruption_writes_down_where_it_runs_and_says_so(drive: Drive, runs_on: str, ended: str) -> None:
    def interrupt(_: MoveRequest) -> str:
        for host in drive.hosts:
            host.guests[GUEST.uuid] = "runs" if host.name == runs_on else "absent"
        raise KeyboardInterrupt

    drive.trouble = interrupt
    with pytest.raises(KeyboardInterrupt):
        drive()
    assert (drive.history.ended, drive.stayed_on) == (ended, [runs_on])


def test_a_move_that_is_refused_leaves_nothing_to_be_recovered(drive: Drive) -> None:
    drive.hosts[1].machine = drive.hosts[0].machine
    with pytest.raises(UsageError, match="are one host"):
        drive()
    assert drive.history.ended == "failed"


def test_it_is_aborted_by_the_file_of_this_move_and_not_by_one_of_an_earlier(drive: Drive) -> None:
    drive.abort_file.touch()
    asked: list[bool] = []

    def look(request: MoveRequest) -> None:
        asked.append(request.told_to_abort())
        drive.abort_file.touch()
        asked.append(request.told_to_abort())

    drive.trouble = look
    drive()
    assert asked == [False, True]


def test_it_is_known_who_drives_it_meanwhile(drive: Drive) -> None:
    driven: list[bool] = []
    drive.trouble = lambda _: driven.append(drive.history.driven)
    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert driven == [True]


def test_an_end_that_was_not_written_down_is_said() -> None:
    said = not_written("web", Ending("moved", ["b"], None, None), FULL)
    assert isinstance(said, TrialError)
    assert said.brief == "web moved and runs on b"
    assert "No space left on device" in said.details
    assert said.resolution == "make room, then 'whimbrel recover web'"


def test_an_unsafe_end_that_was_not_written_down_stays_unsafe() -> None:
    why = UnsafeStateError("no copy is left", details="b died")
    said = not_written("web", Ending("unsafe", [], None, why), FULL)
    assert said is why
    assert said.details.splitlines()[0] == "b died"
    assert "No space left on device" in said.details
