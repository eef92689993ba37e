"""The witness is asked whether what arrived is what left, as far as that was promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.analysis.test_witness import AFTER, BEFORE, record
from whimbrel.errors import InstrumentError, TrialError
from whimbrel.migrate.techniques import EVERYTHING
from whimbrel.moves import testimony as of_witness
from whimbrel.moves.testimony import judge
from whimbrel.records.trial import WitnessRecord

HEARS = {"say": "hears", "found": BEFORE.model_dump()}
VERIFIED = {
    "say": "verified",
    "found": AFTER.model_dump(),
    "messages": 500,
    "misnumbered": 2,
    "went_back": False,
    "connections": 1,
}


class Said:
    """An instrument that has said all that it will say."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.said = list(lines)

    def wait_for(self, true: Callable[[list[dict[str, Any]]], bool], what: str, timeout_s: float) -> None:
        if not true(self.said):
            raise InstrumentError(f"waited {timeout_s:.0f} s for the witness {what}")


def told(*lines: dict[str, Any]) -> WitnessRecord:
    witness: Any = Said(*lines)
    return of_witness.testimony(witness)


def test_what_it_said_before_and_after_is_its_record() -> None:
    assert told({"say": "ready"}, HEARS, VERIFIED) == record(misnumbered=2)


def test_one_that_does_not_answer_after_the_move_is_recorded_so() -> None:
    assert told(HEARS, {**VERIFIED, "found": None}).after is None


def test_one_that_did_not_answer_before_can_say_nothing() -> None:
    with pytest.raises(TrialError, match="did not answer before the move"):
        told({**HEARS, "found": None}, VERIFIED)


def test_one_that_was_never_asked_is_waited_for_a_minute() -> None:
    with pytest.raises(InstrumentError, match="waited 60 s for the witness to ask the witness"):
        told(HEARS)


def test_what_was_promised_is_judged_and_nothing_else() -> None:
    judge(EVERYTHING, record())
    broken = record(AFTER.model_copy(update={"wrong": 3, "counter": 5}))
    judge(frozenset({"file", "connection"}), broken)
    with pytest.raises(TrialError, match="what arrived is not what left") as caught:
        judge(EVERYTHING, broken)
    assert caught.value.details == "3 of 256 pages of memory are not what they were; the counter went back, from 1000 to 5"
