"""What is said of a move that failed, of one that was not measured to its end, and of a guest that ended by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.errors import GuestEndedError, InstrumentError, MoveError, TrialError, UnsafeStateError, WhimbrelError
from whimbrel.guests.last_words import End
from whimbrel.hosts.host import GuestState
from whimbrel.migrate import verify
from whimbrel.migrate.technique import MoveRequest
from whimbrel.moves.notes import Notes
from whimbrel.moves.subject import Subject
from whimbrel.moves.verdict import Verdict
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import read_pair

BLIND = "the probe ended"


def verdict(result: Any, at: dict[str, GuestState], why: WhimbrelError | None = None) -> Verdict:
    """Of a move of the guest between two hosts, on which it is now like this."""
    hosts = FakeHost("a"), FakeHost("b")
    for host in hosts:
        if host.name in at:
            host.guests[GUEST.uuid] = at[host.name]
    request = MoveRequest(
        what=GUEST, source=hosts[0], destination=hosts[1], memory_bytes=0, disk_bytes=0, spec=MigrationSpec()
    )  # fmt: skip
    subject = cast("Subject", SimpleNamespace(what=GUEST, places=hosts, request=request))
    notes = Notes("now", read_pair(), result=result)
    return Verdict(notes, "web", subject, why, lambda gone: "boot it anew" if gone else "look")


def test_a_move_that_went_well_but_was_not_measured_says_where_it_runs() -> None:
    found = verdict("moved", {"b": "runs"})
    said = found.of_failure(InstrumentError(BLIND, details="its reason"))
    assert isinstance(said, InstrumentError)
    assert (said.brief, said.details) == ("web had moved and runs on host b, but the probe ended", "its reason")
    assert found.notes.result == "moved"


def test_a_move_that_went_well_and_of_which_two_copies_run_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.5)
    found = verdict("moved", {"a": "runs", "b": "runs"})
    said = found.of_failure(InstrumentError(BLIND))
    assert isinstance(said, UnsafeStateError)
    assert said.brief.startswith("web had moved, but then ")
    assert (found.notes.result, found.notes.runs_on) == ("unsafe", ["a", "b"])


@pytest.mark.parametrize("why", [UnsafeStateError("both halves are lost", details="a died"), MoveError("it failed")])
def test_a_move_that_failed_comes_before_the_instrument_that_did(why: WhimbrelError) -> None:
    exit_code = why.exit_code
    said = verdict("unsafe", {}, why).of_failure(InstrumentError(BLIND))
    assert said is why
    assert said.exit_code == exit_code
    assert BLIND in said.details


def test_a_move_that_failed_is_said_once() -> None:
    why = MoveError("it failed")
    assert str(verdict("failed", {"a": "runs"}, why).of_failure(why)) == "it failed"


def test_a_move_that_was_not_made_has_no_end() -> None:
    failed = InstrumentError(BLIND)
    assert verdict("not made", {"a": "runs"}).of_failure(failed) is failed
    assert failed.brief == BLIND


def test_no_room_for_what_is_measured_is_a_failure_of_the_trial() -> None:
    said = verdict("stayed", {"a": "runs"}).of_failure(OSError(28, "No space left on device"))
    assert isinstance(said, TrialError)
    assert "No space left on device" in said.brief


PANIC = End("guest", "b", "panicked", 1_700_000_000_000_000_000, 0)


def test_a_guest_that_ended_after_its_move_is_nowhere() -> None:
    found = verdict("moved", {})
    said = found.of_end(PANIC, GuestEndedError("x"))
    assert isinstance(said, UnsafeStateError)
    assert said.brief == f"web had moved, but then {PANIC}; no copy is left"
    assert said.resolution == "boot it anew"
    assert (found.notes.result, found.notes.runs_on) == ("unsafe", [])


def test_a_guest_that_ended_before_its_move_was_not_moved() -> None:
    found = verdict("not made", {})
    said = found.of_end(PANIC, InstrumentError("the viewers lost their connection"))
    assert isinstance(said, GuestEndedError)
    assert said.brief.startswith(str(PANIC))
    assert said.details == "the viewers lost their connection"
    assert found.notes.result == "not made"


def test_the_end_of_a_guest_is_told_with_the_move_that_it_made_fail() -> None:
    why = MoveError("the move failed in the phase pre-copy")
    said = verdict("failed", {}, why).of_end(PANIC, why)
    assert said is why
    assert str(PANIC) in said.details
