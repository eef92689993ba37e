"""What the player of a watched stream would have shown: cases counted by hand."""

from __future__ import annotations

import polars as pl
import pytest

from whimbrel.analysis.answers import Window
from whimbrel.analysis.opinion import stalling_mos
from whimbrel.analysis.streams import packet_figures, segment_figures
from whimbrel.records.series import PACKETS_SCHEMA, SEGMENTS_SCHEMA

MS, S = 1_000_000, 1_000_000_000
# The watch begins at 10 s; the move is from 20 s to 22 s; it ends at 40 s.
WINDOW = Window(10 * S, 20 * S, 22 * S, 40 * S)


def packets(arrivals: list[tuple[float, int, int]]) -> pl.DataFrame:
    """Pictures, by when they arrived (s), their time in the stream (ms) and their connection."""
    rows = [(0, connection, 0, stream_ms, round(at_s * S), 1000) for at_s, stream_ms, connection in arrivals]
    return pl.DataFrame(rows, schema=PACKETS_SCHEMA, orient="row")


def in_real_time(from_s: float, to_s: float, stream_ms: int = 0, connection: int = 1) -> list[tuple[float, int, int]]:
    """Every 100 ms a picture."""
    count = round((to_s - from_s) * 10)
    return [(from_s + at / 10, stream_ms + at * 100, connection) for at in range(count)]


def test_a_silence_longer_than_the_buffer_is_a_stall() -> None:
    # It plays from 11.1 s on (the packet for 1.0 s), holds 1 s, hears nothing from 21 s to 24 s: dry at 21.9 s (its last
    # picture is that of 10.9 s), and goes on when it holds 1 s again, at 24 s, for all that was late came at once.
    early = in_real_time(10.0, 21.0)
    late = [(24.0, stream_ms, 1) for _, stream_ms, _ in in_real_time(21.0, 24.0, 11_000)]
    found = packet_figures(packets([*early, *late, *in_real_time(24.0, 40.0, 14_000)]), 1.0, WINDOW.began_ns, WINDOW)
    assert found.startup_s == pytest.approx(1.0)
    assert (found.stalls, found.stalled_at_end) == (1, False)
    [stall] = found.moments
    assert (stall.from_s, stall.to_s) == pytest.approx((21.9, 24.0))
    assert found.stalled_s == pytest.approx(2.1)
    assert found.stalling_mos == pytest.approx(stalling_mos(1, 2.1))
    assert (found.missing_segments, found.missed_s) == (None, None)


def test_a_larger_buffer_bridges_it() -> None:
    early = in_real_time(10.0, 21.0)
    late = [(24.0, stream_ms, 1) for _, stream_ms, _ in in_real_time(21.0, 24.0, 11_000)]
    found = packet_figures(packets([*early, *late, *in_real_time(24.0, 40.0, 14_000)]), 3.5, WINDOW.began_ns, WINDOW)
    assert (found.stalls, found.stalled_s, found.stalling_mos) == (0, 0, 5.0)


def test_stalls_before_the_move_and_what_came_before_the_watch_do_not_count() -> None:
    before = in_real_time(8.0, 9.0)
    stalled = [*in_real_time(10.0, 13.0), *((16.0, ms, 1) for _, ms, _ in in_real_time(13.0, 16.0, 3_000))]
    found = packet_figures(packets([*before, *stalled, *in_real_time(16.0, 40.0, 6_000)]), 1.0, WINDOW.began_ns, WINDOW)
    assert found.startup_s == pytest.approx(1.0)
    assert (found.stalls, found.stalling_mos) == (0, 5.0)
    without_a_move = Window(10 * S, None, None, 40 * S)
    assert packet_figures(packets([*stalled, *in_real_time(16.0, 40.0, 6_000)]), 1.0, 10 * S, without_a_move).stalls == 1


def test_a_stall_that_had_not_ended_has_no_length() -> None:
    found = packet_figures(packets(in_real_time(10.0, 21.0)), 1.0, WINDOW.began_ns, WINDOW)
    assert (found.stalls, found.stalled_at_end, found.stalled_s, found.stalling_mos) == (1, True, None, None)
    assert found.stalled_at_least_s == pytest.approx(40 - 21.9)


def test_a_stream_that_never_came_has_no_opinion() -> None:
    found = packet_figures(packets([]), 1.0, WINDOW.began_ns, WINDOW)
    assert (found.startup_s, found.stalls, found.stalled_s, found.stalling_mos) == (None, 0, None, None)


def test_segments_that_come_late_and_such_that_never_do() -> None:
    # 2 s each, two held; at 21 s nothing is left (11 s + 10 s), the next comes at 23 s.
    came = [(0, 11.0), (1, 11.0), (2, 13.0), (3, 15.0), (4, 17.0), (5, 23.0), (6, 23.0), (7, 25.0), (8, 27.0), (10, 29.0)]
    rows = [(0, 1, 0, at, 2.0, round((s - 0.1) * S), round(s * S), 200, 9, 3, False) for at, s in came]
    rows += [(0, 1, 0, 9, 2.0, 28 * S, 28 * S, 0, 0, 0, True), (0, 1, 0, 11, 2.0, 12 * S, 12 * S, 0, 0, 0, True)]
    found = segment_figures(pl.DataFrame(rows, schema=SEGMENTS_SCHEMA, orient="row"), 2.0, WINDOW.began_ns, WINDOW)
    first = found.moments[0]
    assert (first.from_s, first.to_s) == pytest.approx((21.0, 23.0))
    assert (found.missing_segments, found.missed_s) == (1, 2.0)
    assert found.startup_s == pytest.approx(0.1)
