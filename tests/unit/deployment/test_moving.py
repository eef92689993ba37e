"""What is said of a move whose end is known, though an instrument failed or its journal could not be written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from whimbrel.deployment.moving import _Attempt
from whimbrel.errors import InstrumentError, MoveError, TrialError, UnsafeStateError, WhimbrelError
from whimbrel.moves.notes import Notes
from whimbrel.system.clock import read_pair

BLIND = InstrumentError("the probe ended", details="its reason")
FULL = OSError(28, "No space left on device")


def attempt(result: Any, runs_on: list[Any], why: WhimbrelError | None = None) -> _Attempt:
    found = _Attempt.__new__(_Attempt)
    deployment: Any = SimpleNamespace(name="web")
    found._deployment = deployment
    found.notes = Notes("now", read_pair(), result=result, runs_on=runs_on)
    found._why = why
    return found


def test_a_move_that_went_well_but_was_not_measured_says_where_it_runs() -> None:
    said = attempt("moved", ["b"])._not_measured(BLIND)
    assert isinstance(said, InstrumentError)
    assert "web moved and runs on b, but that was not measured" in str(said)


@pytest.mark.parametrize("why", [UnsafeStateError("both halves are lost", details="a died"), MoveError("it failed")])
def test_a_move_that_failed_comes_before_the_instrument_that_did(why: WhimbrelError) -> None:
    exit_code = why.exit_code
    said = attempt("unsafe", [], why)._not_measured(BLIND)
    assert said is why
    assert said.exit_code == exit_code
    assert "the probe ended" in said.details


def test_a_move_that_was_not_made_has_no_end() -> None:
    assert attempt("not made", [])._not_measured(BLIND) is BLIND


def test_an_end_that_was_not_written_down_is_said() -> None:
    said = attempt("moved", ["b"])._not_written(FULL)
    assert isinstance(said, TrialError)
    assert "web moved and runs on b" in str(said)
    assert "No space left on device" in str(said)
    assert "recover web" in str(said)


def test_an_unsafe_end_that_was_not_written_down_stays_unsafe() -> None:
    why = UnsafeStateError("no copy is left", details="b died")
    said = attempt("unsafe", [], why)._not_written(FULL)
    assert said is why
    assert "b died" in said.details
    assert "No space left on device" in said.details
