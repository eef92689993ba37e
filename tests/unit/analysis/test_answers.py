from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.analysis.answers import CheckFigures, Window, figures_of
from whimbrel.records.series import CHECKS_SCHEMA

MS = 1_000_000
Row = tuple[float, float, float | None, str]


def frame(rows: Sequence[Row], address: str | None = None) -> pl.DataFrame:
    """Rows of (due, sent, ended, outcome) in ms."""
    content = [
        (0, round(due * MS), round(sent * MS), None if ended is None else round(ended * MS), outcome, address)
        for due, sent, ended, outcome in rows
    ]
    return pl.DataFrame(content, schema=CHECKS_SCHEMA, orient="row")


def window(began: float, start: float | None, end: float | None, ended: float) -> Window:
    return Window(*(None if at is None else round(at * MS) for at in (began, start, end, ended)))  # type: ignore[arg-type]


def steady(from_ms: int, to_ms: int, every_ms: int = 50, takes_ms: float = 2) -> list[Row]:
    return [(at, at, at + takes_ms, "good") for at in range(from_ms, to_ms, every_ms)]


def found(rows: Sequence[Row], when: Window, holes: list[tuple[int, int]] | None = None) -> CheckFigures:
    return figures_of(frame(rows), when, 0.05, holes or [])


def test_nothing_happens() -> None:
    figures = found(steady(0, 10_000), window(0, 4_000, 5_000, 10_000))
    assert (figures.sent, figures.failed, figures.failures, figures.not_sent) == (200, 0, {}, 0)
    assert (figures.longest_gap_s, figures.usual_gap_s, figures.gap_resolution_s) == (0.05, 0.05, 0.05)
    assert (figures.stands_out, figures.disturbances, figures.connections_lost) == (False, [], 0)
    # The question due at 5000 is answered at 5002.
    assert figures.first_good_after_s == pytest.approx(0.002)
    assert figures.answers_per_s == {"before": 20.0, "during": 20.0, "after": 20.0}


def test_a_stall_is_seen_by_all_that_should_have_been_sent_in_it() -> None:
    """The service stands still from 4000 to 4300: all that is due then is answered at 4302, late and not lost."""
    stalled = [(at, at, 4_302, "good") for at in range(4_000, 4_300, 50)]
    figures = found([*steady(0, 4_000), *stalled, *steady(4_300, 10_000)], window(0, 4_000, 5_000, 10_000))
    assert (figures.failed, figures.longest_gap_s) == pytest.approx((0, 0.35))
    assert figures.stands_out
    assert [(each.from_ns, each.to_ns) for each in figures.disturbances] == [(3_952 * MS, 4_302 * MS)]
    during = figures.latency_s["during"]
    # 302, 252, ..., 52, and 14 times 2.
    assert (during.p50, during.max, during.p95) == pytest.approx((0.002, 0.302, None))


def test_failures_by_kind() -> None:
    rows = steady(0, 4_000)
    rows += [(4_000, 4_000, 4_001, "refused"), (4_050, 4_050, 4_051, "refused"), (4_100, 4_100, 4_101, "reset")]
    rows += [(4_101, 4_101, 4_101, "lost"), *steady(4_150, 10_000)]
    figures = found(rows, window(0, 4_000, 4_050, 10_000))
    assert (figures.failed, figures.failures, figures.connections_lost) == (3, {"refused": 2, "reset": 1}, 1)
    assert figures.sent == 200
    assert figures.longest_gap_s == pytest.approx(0.2)
    assert figures.first_good_after_s == pytest.approx(0.102)


def test_what_was_not_answered_took_longer_than_all() -> None:
    """Of 100 questions 4 fail: 95 % were answered within 2 ms; of 6 nobody can say so."""

    def during(failed: int) -> float | None:
        rows = [*steady(0, 4_000), *steady(4_000, 9_000 - 50 * failed)]
        rows += [(at, at, at + 1, "refused") for at in range(9_000 - 50 * failed, 9_000, 50)]
        return found([*rows, *steady(9_000, 10_000)], window(0, 4_000, 9_000, 10_000)).latency_s["during"].p95

    assert during(4) == pytest.approx(0.002)
    assert during(6) is None


def test_percentiles_take_questions_that_bear_them() -> None:
    def latency(questions: int) -> tuple[bool, bool, bool]:
        figures = found(steady(0, 50 * questions), window(0, 50 * questions, 50 * questions, 50 * questions))
        before = figures.latency_s["before"]
        return before.p50 is not None, before.p95 is not None, before.p99 is not None

    assert latency(4) == (False, False, False)
    assert latency(58) == (True, False, False)
    assert latency(59) == (True, True, False)
    assert latency(298) == (True, True, False)
    assert latency(299) == (True, True, True)


def test_a_service_that_does_not_come_back_is_dark_for_at_least_so_long() -> None:
    rows = steady(0, 4_000) + [(at, at, at + 1, "refused") for at in range(4_000, 10_000, 50)]
    figures = found(rows, window(0, 4_000, 4_100, 10_000))
    assert (figures.longest_gap_s, figures.longest_gap_at_least_s) == pytest.approx((None, 6.048))
    assert (figures.first_good_after_s, figures.stands_out) == (None, True)
    assert [(each.from_ns, each.to_ns) for each in figures.disturbances] == [(3_952 * MS, 10_000 * MS)]


def test_a_service_that_never_answers() -> None:
    rows: list[Row] = [(at, at, at + 1, "timed-out") for at in range(0, 10_000, 50)]
    figures = found(rows, window(0, 4_000, 5_000, 10_000))
    assert (figures.longest_gap_s, figures.longest_gap_at_least_s, figures.usual_gap_s) == (None, 10.0, None)
    assert (figures.sent, figures.failed) == (200, 200)


def test_no_question_at_all() -> None:
    figures = found([], window(0, 4_000, 5_000, 10_000))
    assert (figures.sent, figures.longest_gap_s, figures.longest_gap_at_least_s, figures.lateness_s) == (0, None, None, None)


def test_answers_that_come_when_nothing_is_asked_any_more_make_no_gap() -> None:
    """The last question is answered 600 ms after the watch has ended: nobody asked in between."""
    figures = found([*steady(0, 10_000), (9_990, 9_990, 10_600, "good")], window(0, 4_000, 5_000, 10_000))
    assert figures.longest_gap_s == pytest.approx(0.05)
    assert not figures.disturbances


def test_our_own_lateness_makes_a_gap_less_well_known() -> None:
    """Nothing was asked from 4050 to 4450: 50 ms of the gap are known, the rest may be ours."""
    rows = [*steady(0, 4_050), *((at, 4_450, 4_452, "good") for at in range(4_050, 4_450, 50)), *steady(4_450, 10_000)]
    figures = found(rows, window(0, 4_000, 5_000, 10_000))
    assert figures.longest_gap_s == pytest.approx(0.45)
    assert figures.gap_resolution_s == pytest.approx(0.45)
    assert not figures.stands_out
    assert figures.lateness_s is not None
    assert figures.lateness_s.max == pytest.approx(0.4)


def test_what_was_our_own_fault_hides_no_other_disturbance() -> None:
    """From 4000 to 5000 nothing was asked, from 7000 to 7300 nothing answered: the second is a disturbance, the first not."""
    late = [(at, 5_000, 5_002, "good") for at in range(4_000, 5_000, 50)]
    stalled = [(at, at, 7_302, "good") for at in range(7_000, 7_300, 50)]
    rows = [*steady(0, 4_000), *late, *steady(5_000, 7_000), *stalled, *steady(7_300, 10_000)]
    figures = found(rows, window(0, 3_000, 8_000, 10_000))
    assert [(each.from_ns, each.to_ns) for each in figures.disturbances] == [(6_952 * MS, 7_302 * MS)]


def test_a_hole_in_our_loop_makes_a_gap_less_well_known() -> None:
    stalled = [(at, at, 4_302, "good") for at in range(4_000, 4_300, 50)]
    rows = [*steady(0, 4_000), *stalled, *steady(4_300, 10_000)]
    figures = found(rows, window(0, 4_000, 5_000, 10_000), [(4_100 * MS, 4_302 * MS), (7_000 * MS, 7_900 * MS)])
    assert (figures.longest_gap_s, figures.gap_resolution_s) == pytest.approx((0.35, 0.202))


def test_what_we_could_not_send_is_no_failure_of_the_service() -> None:
    rows = [*steady(0, 4_000), *((at, at, at, "not-sent") for at in range(4_000, 4_500, 50)), *steady(4_500, 10_000)]
    figures = found(rows, window(0, 4_000, 5_000, 10_000))
    assert (figures.sent, figures.failed, figures.not_sent) == (190, 0, 10)
    assert figures.longest_gap_s == figures.gap_resolution_s == pytest.approx(0.55)
    assert not figures.stands_out


def test_what_was_open_when_the_watch_ended_is_neither() -> None:
    rows = [*steady(0, 9_000), *((at, at, None, "open") for at in range(9_000, 10_000, 50))]
    figures = found(rows, window(0, 4_000, 5_000, 10_000))
    assert (figures.sent, figures.failed, figures.unanswered_at_end) == (200, 0, 20)
    assert (figures.longest_gap_s, figures.longest_gap_at_least_s) == pytest.approx((None, 1.048))


def test_a_listener_has_gaps_and_no_latency() -> None:
    rows: list[Row] = [(0, 0, 100, "good"), *((at, at, at, "heard") for at in range(120, 4_000, 20))]
    rows += [(4_000, 4_000, 4_000, "lost"), (4_500, 4_500, 4_600, "good")]
    rows += [(at, at, at, "heard") for at in range(4_620, 10_000, 20)]
    figures = figures_of(frame(rows), window(0, 4_000, 4_100, 10_000), None, [])
    assert (figures.sent, figures.failed, figures.connections_lost) == (2, 0, 1)
    assert (figures.longest_gap_s, figures.gap_resolution_s, figures.usual_gap_s) == (0.62, 0.02, 0.02)
    assert figures.lateness_s is None
    assert figures.first_good_after_s == pytest.approx(0.5)


def test_a_stream_that_stops_has_not_ended_its_gap() -> None:
    rows: list[Row] = [(at, at, at, "heard") for at in range(0, 5_000, 20)]
    figures = figures_of(frame(rows), window(0, 4_000, 4_100, 10_000), None, [])
    assert (figures.longest_gap_s, figures.longest_gap_at_least_s) == pytest.approx((None, 5.02))


def test_without_a_move_the_usual_is_what_most_silences_are() -> None:
    stalled = [(at, at, 5_302, "good") for at in range(5_000, 5_300, 50)]
    figures = found([*steady(0, 5_000), *stalled, *steady(5_300, 20_000)], window(0, None, None, 20_000))
    assert (figures.longest_gap_s, figures.usual_gap_s) == pytest.approx((0.35, 0.05))
    assert figures.stands_out
    assert len(figures.disturbances) == 1
    assert figures.first_good_after_s is None
    assert figures.latency_s["during"].max == pytest.approx(0.302)


def test_who_answered() -> None:
    rows = pl.concat([frame(steady(0, 1_000), "10.0.0.1"), frame(steady(1_000, 1_500), "10.0.0.2")])
    assert figures_of(rows, window(0, 500, 900, 1_500), 0.05, []).addresses == {"10.0.0.1": 20, "10.0.0.2": 10}


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["good", "refused", "open", "not-sent"])), max_size=80),
    st.integers(0, 4_000),
    st.integers(0, 4_000),
)
def test_whatever_happens_figures_are_possible(questions: list[tuple[int, str]], start: int, length: int) -> None:
    rows: list[Row] = [
        (at * 50, at * 50, None if outcome == "open" else at * 50 + takes, outcome)
        for at, (takes, outcome) in enumerate(questions)
    ]
    figures = found(rows, window(0, start, start + length, 8_500))
    assert figures.sent == sum(outcome != "not-sent" for _, outcome in questions)
    assert figures.failed == sum(figures.failures.values()) <= figures.sent
    if figures.longest_gap_s is not None:
        assert 0 <= figures.longest_gap_s <= 8.5
        assert figures.gap_resolution_s is not None
        assert figures.gap_resolution_s >= 0.05
    for latency in figures.latency_s.values():
        known = [each for each in (latency.p50, latency.p95, latency.p99) if each is not None]
        assert known == sorted(known)
        assert all(0 <= each <= 0.4 for each in known)


@given(st.integers(1, 60), st.integers(0, 49))
def test_a_gap_is_never_shorter_than_the_pause_nor_longer_by_more_than_its_resolution(periods: int, phase: int) -> None:
    """The service does nothing for a time that begins at any moment; what is asked meanwhile is answered at its end."""
    from_ms, to_ms = 4_000 + phase, 4_000 + phase + periods * 20
    rows: list[Row] = [(at, at, at + 1 if at + 1 <= from_ms or at >= to_ms else to_ms + 1, "good") for at in range(0, 10_000, 50)]
    figures = found(rows, window(0, 3_900, 6_000, 10_000))
    assert figures.longest_gap_s is not None
    assert figures.gap_resolution_s is not None
    pause_s = (to_ms - from_ms) / 1e3
    if pause_s > 0.05:
        assert pause_s <= figures.longest_gap_s <= pause_s + figures.gap_resolution_s + 0.001
