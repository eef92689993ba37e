"""Ways to move a guest one after the other: which are tried, when, for how long, and which are not."""

from __future__ import annotations

import pytest

from whimbrel.predict.expectation import Expectation
from whimbrel.predict.ladder import RUNGS, Rung, RungName, options_of, plan_ladder
from whimbrel.predict.range import Range
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with


def rung(name: RungName, total_s: float | None = None, gap_s: float = 0.1, converges: bool | None = True) -> Rung:
    """One that takes so long at most; None: it is not predicted."""
    if total_s is None:
        return Rung(name, options_of(name, None))
    total, gap = (Range(most / 2, 0.0, most) for most in (total_s, gap_s))
    expected = Expectation(converges=converges, end="by itself", total_s=total, service_gap_s=gap, stalls={})
    return Rung(name, options_of(name, None), expected)


def planned(*rungs: Rung, deadline_s: float | None = None, most_gap_s: float | None = None) -> list[tuple[str, float, float]]:
    plan = plan_ladder(rungs, deadline_s, most_gap_s)
    return [(step.rung.name, step.from_at_most_s, step.for_at_most_s) for step in plan.steps]


def test_without_a_deadline_each_has_half_as_much_again_as_it_may_take() -> None:
    assert planned(rung("pre-copy", 20), rung("zstd"), rung("paused", 10)) == [
        ("pre-copy", 0, 30), ("zstd", 30, 300), ("paused", 330, 15),
    ]  # fmt: skip


def test_the_last_one_has_its_time_whatever_those_before_it_take() -> None:
    assert planned(rung("pre-copy", 20), rung("zstd"), rung("paused", 10), deadline_s=60) == [
        ("pre-copy", 0, 30), ("zstd", 30, 20), ("paused", 50, 10),
    ]  # fmt: skip
    # 25 s are left of 35 before it.
    assert planned(rung("pre-copy", 20), rung("paused", 10), deadline_s=35) == [("pre-copy", 0, 25), ("paused", 25, 10)]


def test_one_that_would_leave_the_last_one_no_time_is_left_out() -> None:
    plan = plan_ladder([rung("pre-copy", 20), rung("zstd"), rung("paused", 10)], 40, None)
    assert [(step.rung.name, step.for_at_most_s) for step in plan.steps] == [("pre-copy", 30), ("paused", 10)]
    assert plan.left_out == {"zstd": "there is no time for it before the last one, which must be in time"}


def test_what_is_expected_to_miss_a_limit_is_left_out_and_the_reason_is_said() -> None:
    endless = Rung("pre-copy", {}, Expectation(converges=False, end="never", stalls={}))
    plan = plan_ladder([endless, rung("longer-pause", 100), rung("paused", 10, gap_s=9.0), rung("post-copy", 20)], 50, 1.0)
    assert [step.rung.name for step in plan.steps] == ["post-copy"]
    assert plan.left_out == {
        "pre-copy": "it is not expected to end",
        "longer-pause": "it may take 1 min 40 s, which is past the deadline",
        "paused": "its service gap may last 9 s",
    }


def test_one_of_which_it_is_open_whether_it_ends_is_tried() -> None:
    assert planned(rung("pre-copy", 20, converges=None)) == [("pre-copy", 0, 30)]


@pytest.mark.parametrize("most_gap_s", [None, 0.2, 5.0])
@pytest.mark.parametrize("name", RUNGS)
def test_every_way_is_one_that_a_move_can_be_given(name: RungName, most_gap_s: float | None) -> None:
    options = options_of(name, most_gap_s)
    spec = migration_with(MigrationSpec(), None, [f"{key}={value}" for key, value in options.items()])
    assert spec.technique == (name if name in ("pre-copy", "post-copy", "paused") else "pre-copy")
    if spec.technique == "pre-copy" and most_gap_s is not None:
        assert spec.max_downtime_s <= most_gap_s
    assert (name == "zstd") == (spec.compression == "zstd")


def test_a_longer_pause_is_longer() -> None:
    names: list[RungName] = ["pre-copy", "longer-pause"]
    usual, longer = (
        migration_with(MigrationSpec(), None, [f"{key}={value}" for key, value in options_of(name, None).items()])
        for name in names
    )
    assert usual.max_downtime_s < longer.max_downtime_s
