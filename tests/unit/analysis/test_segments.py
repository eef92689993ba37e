"""HLS viewers: cases counted by hand."""

from __future__ import annotations

import pytest

from whimbrel.analysis.segments import Request, play_segments


def requests(*arrivals: float, failed: tuple[float, ...] = ()) -> list[Request]:
    came = [Request(number, 2.0, arrived - 0.1, arrived, 200) for number, arrived in enumerate(arrivals)]
    return came + [Request(0, 2.0, at, at + 0.05, 0) for at in failed]


def test_a_film_that_comes_in_time_does_not_stall() -> None:
    played = play_segments(requests(0.1, 0.2, 2, 4, 6), 4.0, 8.0)
    assert (played.segments, played.late, played.failed, played.stalls) == (5, 0, 0, ())
    assert played.startup_s == pytest.approx(0.2)


def test_a_late_segment_is_a_stall_until_the_buffer_is_full_again() -> None:
    # 4 s held at 1 s and one more segment at 2 s: empty at 7 s; 2 s come at 9 s, and 2 more at 10 s fill the buffer.
    played = play_segments(requests(0, 1, 2, 9, 10), 4.0, 12.0)
    assert played.late == 1
    [stall] = played.stalls
    assert (stall.from_s, stall.to_s) == (7, 10)
    assert not played.stalled_at_end


def test_a_film_that_stops_coming_stalls_to_the_end() -> None:
    played = play_segments(requests(0, 1), 4.0, 20.0)
    [stall] = played.stalls
    assert (stall.from_s, stall.to_s) == (5, 20)
    assert played.stalled_at_end


def test_requests_that_failed_are_counted_and_play_nothing() -> None:
    played = play_segments(requests(0, 1, failed=(2.0, 2.5)), 4.0, 5.0)
    assert (played.segments, played.failed) == (2, 2)


def test_nothing_at_all() -> None:
    played = play_segments([], 4.0, 5.0)
    assert (played.segments, played.startup_s, played.stalls) == (0, None, ())
    assert play_segments(requests(1.0), 4.0, 5.0).startup_s is None
