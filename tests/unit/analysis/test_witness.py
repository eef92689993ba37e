from __future__ import annotations

from typing import Any

import pytest

from whimbrel.analysis.witness import broken
from whimbrel.migrate.techniques import EVERYTHING, promises_of
from whimbrel.records.trial import WitnessRecord, WitnessState
from whimbrel.spec.migration import MigrationSpec

BEFORE = WitnessState(pages=256, wrong=0, generation=3, counter=1000, file=995, started=0)
AFTER = BEFORE.model_copy(update={"counter": 1500, "file": 1492})


def record(after: WitnessState | None = AFTER, **changed: Any) -> WitnessRecord:
    heard = {"messages": 500, "misnumbered": 0, "went_back": False, "connections": 1}
    return WitnessRecord(before=BEFORE, after=after, **(heard | changed))


def test_what_is_kept_is_not_complained_of() -> None:
    assert broken(EVERYTHING, record()) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (record(AFTER.model_copy(update={"wrong": 3})), "3 of 256 pages"),
        (record(AFTER.model_copy(update={"started": 995})), "started anew"),
        (record(AFTER.model_copy(update={"counter": 900})), "the counter went back, from 1000 to 900"),
        (record(went_back=True), "the counter went back"),
        (record(connections=2), "the connection was lost"),
        (record(misnumbered=1), "1 messages"),
        (record(AFTER.model_copy(update={"file": 900})), "the file went back"),
        (record(AFTER.model_copy(update={"file": 0})), "records of the file"),
        (record(None), "does not answer"),
    ],
)
def test_each_broken_promise_is_named(found: WitnessRecord, said: str) -> None:
    assert any(said in reason for reason in broken(EVERYTHING, found))


@pytest.mark.parametrize("asked", [{"technique": "cold"}, {"technique": "restart", "moves": "container"}])
def test_a_fresh_start_keeps_the_file_only(asked: dict[str, str]) -> None:
    promises = promises_of(MigrationSpec.model_validate(asked))
    fresh = AFTER.model_copy(update={"started": 995, "counter": 1100, "file": 1090})
    assert broken(promises, record(fresh, connections=2)) == []
    assert broken(promises, record(fresh.model_copy(update={"file": 3}))) == ["the file went back, from 995 to 3"]
