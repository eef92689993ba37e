"""What to expect of a move, from a profile whose truth is known; QEMU's own rule when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, replace

import pytest

from whimbrel.errors import UsageError
from whimbrel.predict.as_qemu import Course, Limits, QemuMove, move_as_qemu
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.expectation import Expectation, expect, expect_post_copy, expect_standing_still
from whimbrel.predict.overheads import UNKNOWN, Seen, learn
from whimbrel.predict.profile import Profile, Window
from whimbrel.predict.range import Range

PAGE = 4096 + 8
# 1,000 pages/s.
LINK = 1000.0 * PAGE


def guest(rate: float, working_set: float = math.inf, pages: int = 10_000, zero: float = 0.0, error: float = 0.0) -> Profile:
    """Dirties ``rate`` different pages/s until its working set is dirty."""
    windows = tuple(
        Window(window_s, min(rate * window_s, working_set), error * min(rate * window_s, working_set))
        for window_s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
    )
    return Profile(pages, zero * pages, windows)


def all_content(pages: float) -> float:
    """Of a guest without a page of zeros."""
    return pages


def curve(*args: float, **options: float) -> DirtyCurve:
    return DirtyCurve(guest(*args, **options).curve)  # type: ignore[arg-type]


def course_of(move: QemuMove) -> Course:
    """Of a move that ends."""
    assert move.course is not None
    return move.course


def test_a_guest_that_dirties_nothing_stops_for_what_is_left_at_the_limit() -> None:
    course = course_of(move_as_qemu(curve(0.0), LINK, Limits(1.0, 30), all_content))
    assert course.rounds == 1
    assert course.memory_s == pytest.approx(9.025)
    # At most twice the 50 ms that QEMU sends before it looks.
    assert astuple(course.pause_s) == pytest.approx((0.975, 0.9, 1.0))
    assert course.sent_bytes == pytest.approx(10_000 * PAGE)


def test_pages_of_zeros_are_counted_but_take_nothing() -> None:
    course = course_of(move_as_qemu(curve(0.0, zero=0.5), LINK, Limits(1.0, 30), lambda pages: pages / 2))
    # In the 25 ms that QEMU is late on average the zeros between go as well, so fifty pages fewer are left by its count.
    assert course.pause_s.middle == pytest.approx((1.0 - 0.05) / 2, rel=0.01)
    assert course.pause_s.most == pytest.approx(0.5, rel=0.01)


def test_the_first_rounds_rest_is_what_lies_last() -> None:
    # The same share of zeros; QEMU sends by address, so it matters whether they lie at the end.
    ends: list[Callable[[float], float]] = [lambda pages: min(pages, 5000.0), lambda pages: max(0.0, pages - 5000.0)]
    dark, empty = (course_of(move_as_qemu(curve(0.0, zero=0.5), LINK, Limits(1.0, 30), last)) for last in ends)
    assert dark.pause_s.middle == pytest.approx(0.975)
    # Zeros go in no time: by the time QEMU looks they are gone.
    assert empty.pause_s.middle == pytest.approx(0, abs=1e-6)
    assert dark.sent_bytes == pytest.approx(empty.sent_bytes)


def test_what_is_left_of_later_rounds_holds_content() -> None:
    # Nine pages of ten are zeros. A guest that stands still stops in the first round, whose rest is mostly zeros; one that
    # dirties at half the rate of the link stops in a later one.
    dirty, still = curve(500.0, zero=0.9), curve(0.0, zero=0.9)
    limit_s = 0.3
    moves = [move_as_qemu(one, LINK, Limits(limit_s, 30), lambda pages: pages / 10) for one in (still, dirty)]
    at_first, at_last = map(course_of, moves)
    assert at_first.rounds == 1
    assert at_last.rounds >= 3
    assert at_first.pause_s.middle < limit_s / 5
    assert at_last.pause_s.middle > 0.5 * limit_s
    # At most twice the 50 ms that QEMU sends before it looks, where half of it is expected.
    assert at_last.pause_s.middle - at_last.pause_s.least <= 0.075 + 1e-9


def test_rounds_follow_until_what_was_dirtied_fits_as_well() -> None:
    # A tenth of the link: rounds of about 9.7 s, 0.9 s, 0.1 s, ...; what each dirties is a tenth of what it sent.
    move = move_as_qemu(curve(100.0), LINK, Limits(0.3, 30), all_content)
    assert move.end == "by itself"
    assert 2 <= course_of(move).rounds <= 4
    assert course_of(move).pause_s.middle <= 0.3


def test_a_guest_that_is_quicker_than_the_link_is_stopped_by_the_limit_on_rounds_or_never() -> None:
    forced = move_as_qemu(curve(2000.0), LINK, Limits(0.3, 3), all_content)
    assert forced.end == "rounds"
    assert course_of(forced).rounds == 3
    assert move_as_qemu(curve(2000.0), LINK, Limits(0.3, 1000), all_content).end == "never"


def assert_ordered(found: Expectation) -> None:
    """Middles lie within intervals, and whoever looks from further away sees nothing for longer."""
    figures = (found.blackout_s, found.reachability_gap_s, found.service_gap_s, found.total_s, found.sent_bytes)
    known = [figure for figure in figures if figure is not None]
    assert len(known) == len(figures)
    assert all(figure.least <= figure.middle <= figure.most for figure in known)
    assert known[0].middle < known[1].middle < known[2].middle


def test_the_middle_lies_within_the_interval_and_errors_widen_it() -> None:
    link = Range(LINK, LINK * 0.97, LINK * 1.03)
    narrow = expect(guest(100.0), Range(LINK, LINK, LINK), Limits(0.3, 30), UNKNOWN)
    wide = expect(guest(100.0, error=0.5), link, Limits(0.3, 30), UNKNOWN)
    for found in (narrow, wide):
        assert found.downtime_s is not None
        assert found.downtime_s.least <= found.downtime_s.middle <= found.downtime_s.most
        assert_ordered(found)
    assert narrow.total_s is not None
    assert wide.total_s is not None
    assert wide.total_s.most - wide.total_s.least > narrow.total_s.most - narrow.total_s.least
    assert narrow.converges
    assert wide.converges


def test_whether_it_converges_is_open_when_the_measurements_leave_it_open() -> None:
    link = Range(LINK, LINK, LINK)
    assert expect(guest(2000.0), link, Limits(0.3, 1000), UNKNOWN).converges is False
    assert expect(guest(950.0, error=0.2), link, Limits(0.3, 1000), UNKNOWN).converges is None
    assert expect(guest(2000.0), link, Limits(0.3, 3), UNKNOWN).forced


def test_viewers_stall_when_the_gap_outlasts_their_buffer() -> None:
    found = expect(guest(0.0), Range(LINK, LINK, LINK), Limits(0.5, 30), UNKNOWN, buffers_s=(0.001, 0.8, 30.0))
    assert found.stalls == {0.001: True, 0.8: None, 30.0: False}


def test_a_guest_that_stands_still_is_dark_for_all_its_memory() -> None:
    link = Range(LINK, LINK * 0.9, LINK * 1.1)
    found = expect_standing_still(guest(2000.0), link, Limits(0.3, 30), UNKNOWN, (1.0, 13.0, 60.0))
    assert_ordered(found)
    assert found.downtime_s is not None
    assert astuple(found.downtime_s) == pytest.approx(astuple(Range(10.0, 10 / 1.1, 10 / 0.9).plus(UNKNOWN.stop_s)))
    assert found.blackout_s is not None
    assert found.total_s is not None
    assert found.blackout_s.middle == pytest.approx(10.0 + UNKNOWN.stop_s.middle + UNKNOWN.switch_s.middle)
    assert found.total_s.middle == pytest.approx(found.blackout_s.middle + UNKNOWN.before_s.middle + UNKNOWN.after_s.middle)
    assert found.stalls == {1.0: True, 13.0: False, 60.0: False}
    # It may be given up before it ends, or surely is.
    for seconds, in_time in ((12.0, True), (10.0, None), (9.0, False)):
        limits = Limits(0.3, 30, seconds, stops_then=False)
        assert expect_standing_still(guest(2000.0), link, limits, UNKNOWN).converges is in_time
    # It has no rounds, and there is no pause to wish for.
    assert (found.rounds, found.bandwidth_needed_bytes_per_s, found.shortest_pause_s) == (None, None, None)


def test_a_guest_that_goes_first_is_dark_for_the_switch_and_may_stall_until_its_memory_is_there() -> None:
    link = Range(LINK, LINK, LINK)
    found = expect_post_copy(guest(2000.0), link, UNKNOWN, (0.001, 1.0, 60.0))
    assert_ordered(found)
    assert found.downtime_s is None
    assert found.blackout_s == UNKNOWN.stop_over(link).plus(UNKNOWN.switch_s)
    assert found.total_s is not None
    assert found.total_s.middle == pytest.approx(
        10.0 + found.blackout_s.middle + UNKNOWN.before_s.middle + UNKNOWN.after_s.middle
    )
    assert found.service_gap_s is not None
    assert found.service_gap_s.most > 10
    assert found.stalls == {0.001: True, 1.0: None, 60.0: False}
    assert found.rounds is None


def test_what_was_seen_narrows_what_is_not_known() -> None:
    seen = [
        Seen(0.4, 0.1, 0.02, 0.006, 0.05, None, None),
        Seen(0.5, 0.2, None, 0.008, 0.06, None, None),
        Seen(0.6, None, None, None, None, None, None),
    ]
    found = learn(seen)
    assert found.before_s.middle == 0.5
    assert found.after_s.middle == pytest.approx(0.15)
    assert found.packet_s == UNKNOWN.packet_s
    # Of a stop over a link of which nothing is known nothing is learned.
    assert found.stop_s == UNKNOWN.stop_s
    assert found.learned_from == 3
    # A quarter of what was open on either side is still open: the next of four lies beyond the others with a chance of a half.
    assert found.before_s.least == pytest.approx(0.4 - (0.3 - 0.05) / 4)
    assert found.before_s.most == pytest.approx(0.6 + (1.5 - 0.3) / 4)
    often = learn(seen * 100)
    assert 0.39 < often.before_s.least < 0.4
    assert often.announce_s.least == pytest.approx(0.05, abs=0.01)


def test_how_far_off_the_model_was_of_the_rest_is_learned_from_enough_moves_and_never_leaves_the_interval() -> None:
    def seen(share: float) -> Seen:
        return Seen(None, None, None, None, None, None, None, share)

    assert learn([seen(0.8)] * 4).rest_share == 1.0
    learned = learn([seen(share) for share in (0.5, 0.8, 0.8, 0.8, 3.0)])
    assert learned.rest_share == 0.8
    link, limits = Range(LINK, LINK * 0.7, LINK * 1.3), Limits(0.5, 30)
    before, after, far = (expect(guest(100.0), link, limits, replace(UNKNOWN, rest_share=share)) for share in (1.0, 0.95, 0.01))
    assert before.downtime_s is not None
    assert after.downtime_s is not None
    assert far.downtime_s is not None
    assert before.rest_s is not None
    assert before.downtime_s.middle - after.downtime_s.middle == pytest.approx(0.05 * before.rest_s)
    assert far.downtime_s.least <= far.downtime_s.middle
    # What is kept for the next moves to learn from is what the model said.
    assert far.rest_s == before.rest_s


def test_links_of_different_rates_tell_what_lies_in_buffers_from_what_does_not() -> None:
    # 30 ms, and 1.2 MB that have to leave first.
    seen = [Seen(None, None, 0.03 + 1.2e6 / rate, None, None, None, rate) for rate in (12e6, 24e6, 60e6)]
    found = learn(seen)
    assert found.buffered_bytes.middle == pytest.approx(1.2e6)
    assert found.buffered_bytes.least < 1.2e6 < found.buffered_bytes.most < UNKNOWN.buffered_bytes.most
    assert found.stop_s.middle == pytest.approx(0.03)
    assert found.stop_over(Range(6e6, 6e6, 6e6)).middle == pytest.approx(0.23)
    # Links of one rate cannot tell, and no more can have lain in buffers than would have fitted.
    assert learn(seen[:1]).buffered_bytes.middle == UNKNOWN.buffered_bytes.middle
    short = learn([Seen(None, None, 0.01, None, None, None, 12e6)])
    assert astuple(short.buffered_bytes) == pytest.approx((0.01 * 12e6, 0, 0.01 * 12e6))
    assert short.stop_s.middle == 0


def test_a_time_out_stops_a_guest_in_the_middle_of_a_round_or_gives_the_move_up() -> None:
    # As quick as the link, in a working set of 4,000 pages: rounds of 10 s, then 4 s each; stopped 2 s into the third.
    busy = curve(2000.0, working_set=4000.0)
    stopped = move_as_qemu(busy, LINK, Limits(0.1, 1000, 16.0), all_content)
    assert stopped.end == "time-out"
    assert course_of(stopped).memory_s == pytest.approx(16.0)
    assert course_of(stopped).rounds == 3
    # Half of the 4,000 pages are sent by then; of the others all are dirty, and of those sent too.
    assert course_of(stopped).pause_s.middle == pytest.approx(4.0, rel=0.1)
    # Rounds that no longer shrink would go on for ever, but for that.
    assert move_as_qemu(busy, LINK, Limits(0.1, 1000, 30.0), all_content).end == "time-out"
    assert move_as_qemu(busy, LINK, Limits(0.1, 1000), all_content).end == "never"
    assert move_as_qemu(busy, LINK, Limits(0.1, 1000, 16.0, stops_then=False), all_content).end == "not in time"


def test_a_limit_on_the_rate_holds_only_while_the_guest_runs() -> None:
    link = Range(LINK, LINK, LINK)
    free, held = (expect(guest(0.0), link, Limits(0.4, 30), UNKNOWN, (), most) for most in (math.inf, LINK / 4))
    assert free.total_s is not None
    assert held.total_s is not None
    assert held.total_s.middle > 3.5 * free.total_s.middle
    assert free.downtime_s is not None
    assert held.downtime_s is not None
    # A quarter of the pages is left at the limit, and they go as quickly as the link lets them.
    stop_s = UNKNOWN.stop_over(link).middle
    assert held.downtime_s.middle - stop_s == pytest.approx((free.downtime_s.middle - stop_s) / 4, rel=0.01)


def test_a_link_that_carries_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        move_as_qemu(curve(1.0), 0.0, Limits(0.3, 30), all_content)
