from __future__ import annotations

import pytest

from whimbrel.migrate.limits import Action, decide
from whimbrel.spec.fields import RECORD
from whimbrel.spec.migration import MigrationSpec


def limits(**values: object) -> MigrationSpec:
    return MigrationSpec.model_validate({"max_rounds": 3, "timeout_s": 60.0, **values}, context=RECORD)


@pytest.mark.parametrize(
    ("rounds", "elapsed_s", "action"),
    [(0, 0, "go on"), (3, 20, "go on"), (4, 20, "stop and copy"), (1, 60, "abort"), (9, 61, "abort")],
)
def test_the_worked_example(rounds: int, elapsed_s: float, action: Action) -> None:
    assert decide(limits(), rounds, elapsed_s) == action


def test_a_time_out_may_stop_and_copy_instead() -> None:
    assert decide(limits(on_timeout="stop-and-copy"), 1, 60) == "stop and copy"
