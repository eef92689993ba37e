"""What a trial notes becomes its record; what was not seen is None, and never 0."""

from __future__ import annotations

import pytest

from whimbrel.errors import MoveError
from whimbrel.guests.forms import Identity
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.technique import MoveReport
from whimbrel.moves.notes import Notes, count_reach, now
from whimbrel.system.clock import read_pair

REPORT = MoveReport(100, 200, "moved", None, 2**30, 0, {"memory_total": 5})


def notes() -> Notes:
    return Notes(now(), read_pair())


def test_before_a_move_there_is_no_record_of_one() -> None:
    found = notes()
    assert found.move_record() is None
    outcome = found.outcome()
    assert (outcome.result, outcome.measured, outcome.error, outcome.runs_on) == ("not made", True, None, [])
    assert outcome.same_identity is None


def test_an_ending_says_what_came_of_it_and_of_its_call() -> None:
    found = notes()
    found.qemu_downtime_ms = 123
    found.keep_ending(Ending("moved", ["b"], REPORT, None))
    move = found.move_record()
    assert move is not None
    assert (move.called_ns, move.returned_ns, move.reserved_memory_bytes) == (100, 200, 2**30)
    assert (move.qemu_downtime_ms, move.completed, move.parameters) == (123, {"memory_total": 5}, None)
    assert (found.outcome().result, found.outcome().runs_on) == ("moved", ["b"])


def test_a_failure_is_known_by_name_and_said_in_words() -> None:
    found = notes()
    found.keep_ending(Ending("failed", ["a"], None, MoveError("no"), "no-route"))
    found.failure = "no"
    outcome = found.outcome()
    assert (outcome.result, outcome.measured, outcome.error, outcome.known_failure) == ("failed", False, "no", "no-route")
    assert found.move_record() is None


@pytest.mark.parametrize(
    ("after", "same"),
    [(None, None), (Identity("boot", "one"), True), (Identity("boot", "two"), False), (Identity("x", "one"), False)],
)
def test_an_identity_is_the_same_boot_and_the_same_container(after: Identity | None, same: bool | None) -> None:
    found = notes()
    found.identity_before, found.identity_after = Identity("boot", "one"), after
    assert found.outcome().same_identity is same


def test_answers_are_counted_by_when_they_came() -> None:
    lines = [
        "1.0 vm-to-container ok", "1.2 container-to-vm ok",
        "2.0 vm-to-container failed", "2.2 container-to-vm ok", "2.4 vm-to-container failed",
        "3.0 vm-to-container ok",
    ]  # fmt: skip
    counts = count_reach(lines, 2, 5)
    assert (counts.before_ok, counts.before_failed) == (2, 0)
    assert (counts.during_ok, counts.during_failed) == (1, 2)
    assert (counts.after_ok, counts.after_failed) == (1, 0)
