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


def segment(
    position: int, arrived: float, tracks: int | None = None, status: int = 200, playlist: int = 0, connection: int = 0
) -> Request:
    return Request(position, 2.0, arrived - 0.1, arrived, status, connection, playlist, tracks)


def test_parts_of_a_file_are_answered_with_206() -> None:
    played = play_segments([segment(number, number * 1.0, status=206) for number in range(4)], 4.0, 5.0)
    assert (played.segments, played.failed, played.stalls) == (4, 0, ())


def test_an_answer_without_media_plays_nothing() -> None:
    # 4 s held at 1 s are played at 5 s; what was answered with 200 at 3 s was a page.
    played = play_segments([segment(0, 0), segment(1, 1), segment(2, 3, tracks=0), segment(2, 7), segment(3, 8)], 4.0, 9.0)
    assert (played.segments, played.failed, played.late) == (4, 1, 1)
    assert [(stall.from_s, stall.to_s) for stall in played.stalls] == [(5, 8)]


def test_sound_without_picture_is_a_stall() -> None:
    rows = [segment(0, 0, 3), segment(1, 0, 3), segment(2, 2, 2), segment(3, 4, 2), segment(4, 6, 2), segment(5, 8, 3)]
    played = play_segments(rows, 4.0, 9.0)
    assert [(stall.from_s, stall.to_s) for stall in played.stalls] == [(4, 8)]


def test_sound_from_a_playlist_of_its_own_is_waited_for() -> None:
    picture = [segment(number, float(number), 1) for number in range(6)]
    sound = [segment(number, at, 2, playlist=1) for number, at in enumerate((0.0, 1.0, 9.0, 10.0))]
    played = play_segments(picture + sound, 4.0, 10.5)
    assert (played.segments, played.late) == (10, 1)
    assert [(stall.from_s, stall.to_s) for stall in played.stalls] == [(5, 10)]


def test_a_missing_segment_is_a_hole_and_no_stall() -> None:
    hole = Request(1, 2.0, 1.0, 1.0, 0, tracks=0, missing=True)
    played = play_segments([segment(0, 0), segment(1, 0.5, status=404), hole, segment(2, 1), segment(3, 2)], 4.0, 8.0)
    assert (played.segments, played.failed, played.missing, played.missed_s, played.stalls) == (3, 1, 1, 2.0, ())
    # Eight seconds of film from 1 s on, the hole among them.
    assert play_segments([segment(0, 0), hole, segment(2, 1), segment(3, 2)], 4.0, 9.5).stalls[0].from_s == 9


def test_the_length_of_a_hole_may_be_unknown() -> None:
    unknown = Request(1, None, 1.0, 1.0, 0, tracks=0, missing=True)
    played = play_segments([segment(0, 0), unknown, segment(2, 1), segment(3, 2)], 4.0, 5.0)
    assert (played.missing, played.missed_s) == (1, None)
    assert play_segments([segment(0, 0)], 4.0, 5.0).missed_s == 0


def test_a_stream_that_was_opened_again_begins_with_an_empty_buffer() -> None:
    again = [segment(number, 30.0 + number, connection=1) for number in range(3)]
    played = play_segments([segment(0, 0), segment(1, 0), *again], 4.0, 33.0)
    assert [(stall.from_s, stall.to_s) for stall in played.stalls] == [(4, 31)]
