from __future__ import annotations

import pytest
from pydantic import ValidationError

from whimbrel.migrate.limits import Action, due, pause_limit_s
from whimbrel.spec.fields import RECORD
from whimbrel.spec.migration import MigrationSpec


def limits(**values: object) -> MigrationSpec:
    return MigrationSpec.model_validate({"max_rounds": 3, "timeout_s": 60.0, **values}, context=RECORD)


@pytest.mark.parametrize(
    ("rounds", "elapsed_s", "action"),
    [(0, 0, "go on"), (3, 20, "go on"), (4, 20, "stop and copy"), (1, 60, "abort"), (9, 61, "abort")],
)
def test_the_worked_example(rounds: int, elapsed_s: float, action: Action) -> None:
    assert due(limits(), rounds, elapsed_s) == action


def test_a_time_out_may_stop_and_copy_instead() -> None:
    assert due(limits(on_timeout="stop-and-copy"), 1, 60) == "stop and copy"


def test_post_copy_begins_with_the_first_round() -> None:
    spec = limits(technique="post-copy")
    assert due(spec, 0, 1.0) == "go on"
    assert due(spec, 1, 1.0) == "post-copy"


def test_pre_copy_before_post_copy_by_rounds_or_by_seconds() -> None:
    by_rounds = limits(technique="pre-post-copy", pre_copy_rounds=2)
    assert [due(by_rounds, rounds, 1.0) for rounds in (1, 2, 3)] == ["go on", "go on", "post-copy"]
    by_seconds = limits(technique="pre-post-copy", pre_copy_for_s=5.0)
    assert [due(by_seconds, rounds, at_s) for rounds, at_s in ((1, 4.9), (0, 6.0), (1, 5.0))] == [
        "go on",
        "go on",
        "post-copy",
    ]


def test_a_time_out_may_go_on_as_post_copy() -> None:
    assert due(limits(on_timeout="post-copy"), 1, 60) == "post-copy"


def test_memory_is_timed_from_when_the_disk_is_there() -> None:
    by_seconds = limits(technique="pre-post-copy", pre_copy_for_s=5.0, storage="full")
    assert [due(by_seconds, 1, at_s, disk_s=20.0) for at_s in (20.1, 24.9, 25.0)] == ["go on", "go on", "post-copy"]


@pytest.mark.parametrize("on_timeout", ["abort", "stop-and-copy", "post-copy"])
def test_a_time_out_while_the_disk_is_copied_aborts(on_timeout: str) -> None:
    spec = limits(on_timeout=on_timeout, storage="incremental")
    assert due(spec, 0, 60.0, disk_s=60.0) == "abort"
    assert due(limits(on_timeout=on_timeout), 0, 60.0) != "go on"
    assert due(spec, 1, 60.0, disk_s=50.0) == due(limits(on_timeout=on_timeout), 1, 60.0)


def test_the_pause_limit_grows_in_steps() -> None:
    spec = limits(max_downtime_s=0.3, raise_downtime={"to_s": 1.3, "steps": 5, "every_s": 10.0})
    assert [pause_limit_s(spec, at_s) for at_s in (0, 9.9, 10, 40, 400)] == pytest.approx([0.3, 0.3, 0.55, 1.3, 1.3])
    assert pause_limit_s(limits(max_downtime_s=0.3), 99) == 0.3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"compression": "zstd"}, "parallel connections"),
        ({"compression": "xbzrle", "connections": 2}, "XBZRLE"),
        ({"technique": "paused", "auto_converge": True}, "slows a guest"),
        ({"technique": "cold", "on_timeout": "post-copy"}, "stands still"),
        ({"raise_downtime": {"to_s": 0.2}}, "not above"),
        ({"technique": "cold", "storage": "full", "tls": True}, "sent by qemu-img as it is"),
    ],
)
def test_what_qemu_refuses_is_said_before(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        limits(**values)
