"""What is to be done about a live move, from what was seen of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.migrate.course import LAST_PATIENCE_S, Abort, AskHowFar, Course, CourseAction, Order, RaiseLimit, Sight, Switch
from whimbrel.spec.fields import RECORD
from whimbrel.spec.migration import MigrationSpec


def spec(**values: object) -> MigrationSpec:
    return MigrationSpec.model_validate({"max_rounds": 3, "timeout_s": 60.0, **values}, context=RECORD)


def under_way(**values: object) -> Course:
    return Course.begin(spec(**values))


def switched(order: Order, **values: object) -> Course:
    """At 10 s, with 5 bytes sent."""
    return under_way(**values).given(order).taken(10.0, 5)


def steps(course: Course, elapsed_s: float, rounds: int = 1, why_abort: str | None = None) -> tuple[CourseAction, ...]:
    return course.look(Sight(elapsed_s, rounds, why_abort))[1]


def test_rounds_and_time_decide() -> None:
    course = under_way()
    assert [steps(course, *seen) for seen in ((20, 3), (20, 4), (60, 1))] == [
        (), (Switch("stop and copy", again=False),), (Abort("not done after 60 s"),),
    ]  # fmt: skip


def test_an_order_that_was_refused_is_given_again() -> None:
    course = under_way(technique="post-copy")
    assert steps(course, 1.0) == (Switch("post-copy", again=False),)
    ordered = course.given("post-copy")
    refused = ordered.refused()
    assert [each.may_abort for each in (course, ordered, refused)] == [True, False, True]
    assert steps(refused, 1.05) == (Switch("post-copy", again=True),)
    taken = refused.given("post-copy").taken(1.1, 5)
    assert not taken.may_abort
    assert steps(taken, 59.0) == ()


def test_another_order_after_one_that_was_refused_is_a_new_one() -> None:
    course = under_way(on_timeout="post-copy").given("stop and copy").refused()
    assert steps(course, 60.0, rounds=4) == (Switch("post-copy", again=False),)


def test_the_pause_limit_is_raised_once_per_step_and_not_after_the_switch() -> None:
    grown = {"max_downtime_s": 0.3, "raise_downtime": {"to_s": 1.3, "steps": 5, "every_s": 10.0}}
    course, first = under_way(**grown).look(Sight(10.0, 1))
    assert first == (RaiseLimit(0.55),)
    assert steps(course, 19.9) == ()
    assert steps(switched("stop and copy", **grown), 45.0) == ()


def test_the_pause_limit_waits_for_the_disk() -> None:
    grown = {"max_downtime_s": 0.3, "raise_downtime": {"to_s": 1.3, "steps": 5, "every_s": 10.0}, "storage": "full"}
    copying, said = under_way(**grown).look(Sight(30.0, 0))
    assert said == ()
    assert [steps(copying, at_s) for at_s in (39.9, 40.0)] == [(), (RaiseLimit(0.55),)]


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (under_way(), (Abort("it was asked for"),)),
        (switched("stop and copy"), (Abort("it was asked for"),)),
        (switched("post-copy"), ()),
    ],
)
def test_an_abort_that_is_asked_for_comes_where_the_source_can_have_its_guest_back(
    course: Course, expected: tuple[CourseAction, ...]
) -> None:
    assert steps(course, 11.0, why_abort="it was asked for") == expected


def test_a_guest_that_ended_is_no_longer_moved_and_the_abort_says_why() -> None:
    assert steps(under_way(), 11.0, why_abort="the guest panicked") == (Abort("the guest panicked"),)
    assert steps(switched("post-copy"), 11.0, why_abort="the guest panicked") == ()


def test_memory_that_follows_is_waited_for_while_it_comes() -> None:
    course = switched("post-copy")
    late_s = 10.0 + LAST_PATIENCE_S
    assert steps(course, late_s) == ()
    assert steps(course, late_s + 1) == (AskHowFar(),)
    after, said = course.how_far(late_s + 1, 6)
    assert said == ()
    assert steps(after, late_s + LAST_PATIENCE_S) == ()
    assert after.how_far(late_s + 700, 6)[1] == (Abort("not done 1300 s after the switch, and it no longer gets on"),)


def test_who_does_not_answer_does_not_get_on() -> None:
    """As long as no answer looked like progress, a move that had stopped was given another ten minutes."""
    course = switched("post-copy")
    assert isinstance(course.how_far(700.0, None)[1][0], Abort)
    unknown = under_way().given("post-copy").taken(10.0, None)
    assert isinstance(unknown.how_far(700.0, None)[1][0], Abort)
    assert unknown.how_far(700.0, 5)[1] == ()


def test_ctrl_c_aborts_or_waits() -> None:
    assert under_way().interrupted(3.0)[1] == (Abort("interrupted"),)
    assert switched("stop and copy").interrupted(12.0)[1] == (Abort("interrupted"),)
    waiting, said = switched("post-copy").interrupted(12.0)
    assert said == ()
    assert [steps(waiting, at_s) for at_s in (12.0 + LAST_PATIENCE_S, 13.0 + LAST_PATIENCE_S)] == [(), (AskHowFar(),)]


def test_after_ctrl_c_an_order_that_is_refused_late_leads_to_the_abort_and_to_no_new_order() -> None:
    waiting, said = under_way(technique="post-copy").given("post-copy").interrupted(2.0)
    assert said == ()
    assert steps(waiting.refused(), 47.0) == (Abort("interrupted"),)
    assert steps(waiting.taken(47.0, 5), 48.0) == ()


SIGHTS = st.builds(Sight, st.floats(0, 5000), st.integers(0, 9), st.booleans())


@given(SIGHTS, st.sampled_from(["abort", "stop-and-copy", "post-copy"]), st.booleans())
def test_nothing_aborts_a_guest_whose_memory_follows_while_that_comes(sight: Sight, on_timeout: str, interrupted: bool) -> None:
    course = switched("post-copy", on_timeout=on_timeout)
    if interrupted:
        course, said = course.interrupted(sight.elapsed_s)
        assert said == ()
    after, said = course.look(sight)
    assert set(map(type, said)) <= {AskHowFar}
    assert after.how_far(sight.elapsed_s, 6)[1] == ()


@given(SIGHTS)
def test_nothing_is_switched_twice(sight: Sight) -> None:
    for order in ("stop and copy", "post-copy"):
        assert not any(isinstance(step, Switch) for step in steps(switched(order), sight.elapsed_s, sight.rounds))
