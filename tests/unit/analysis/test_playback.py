from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.analysis.playback import Arrival, Playback, play


def realtime(start_s: float, seconds: float, media_s: float = 0.0, connection: int = 0, step_s: float = 0.04) -> list[Arrival]:
    """Media that arrives as fast as it is to be played."""
    return [Arrival(start_s + n * step_s, media_s + n * step_s, connection) for n in range(round(seconds / step_s) + 1)]


PICTURE, SOUND = 0, 1


def of_track(track: int, arrivals: list[Arrival]) -> list[Arrival]:
    return [replace(arrival, track=track) for arrival in arrivals]


def together(*tracks: list[Arrival]) -> list[Arrival]:
    return sorted((arrival for track in tracks for arrival in track), key=lambda arrival: arrival.arrived_s)


def total_stalled_s(playback: Playback) -> float:
    return sum(stall.length_s for stall in playback.stalls)


def test_it_starts_when_the_buffer_is_full() -> None:
    playback = play(realtime(10, 20), asked_s=9.5, buffer_s=1.0, until_s=30)
    assert playback.startup_s == pytest.approx(1.5)
    assert playback.stalls == ()


def test_a_silence_shorter_than_the_buffer_is_not_seen() -> None:
    arrivals = realtime(0, 10) + realtime(10.8, 10, media_s=10.04)
    assert play(arrivals, 0, 1.0, 20).stalls == ()


def test_a_longer_silence_stalls_until_the_buffer_is_full_again() -> None:
    # 3 s of silence with 1 s in the buffer: 2 s until media comes again, then 1 s to fill the buffer.
    arrivals = realtime(0, 10) + realtime(13, 10, media_s=10.04)
    playback = play(arrivals, 0, 1.0, 22)
    assert len(playback.stalls) == 1
    assert playback.stalls[0].from_s == pytest.approx(11.0, abs=0.05)
    assert total_stalled_s(playback) == pytest.approx(3.0, abs=0.1)


def test_a_burst_after_the_silence_shortens_the_stall() -> None:
    burst = [Arrival(13 + n * 0.001, 10.04 + n * 0.04, 0) for n in range(75)]
    playback = play(realtime(0, 10) + burst + realtime(13.1, 5, media_s=13.1), 0, 1.0, 18)
    assert total_stalled_s(playback) == pytest.approx(2.0, abs=0.1)


def test_never_started_is_none() -> None:
    playback = play(realtime(0, 0.5), 0, 1.0, 10)
    assert playback.startup_s is None
    assert playback.stalls == ()
    assert play([], 0, 1.0, 10).startup_s is None


def test_a_stall_that_does_not_end_says_so() -> None:
    playback = play(realtime(0, 5), 0, 1.0, 20)
    assert playback.stalled_at_end
    assert total_stalled_s(playback) == pytest.approx(20 - 6, abs=0.1)


def test_a_new_connection_starts_over() -> None:
    arrivals = realtime(0, 10) + realtime(10.1, 10, media_s=0.0, connection=1)
    playback = play(arrivals, 0, 1.0, 20)
    assert len(playback.stalls) == 1
    assert total_stalled_s(playback) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("stays", "goes"), [(SOUND, PICTURE), (PICTURE, SOUND)])
def test_one_track_alone_is_no_film(stays: int, goes: int) -> None:
    """Sound without picture after a move, and the other way round: 1 s is held when the one ends at 10 s."""
    arrivals = together(of_track(stays, realtime(0, 30)), of_track(goes, realtime(0, 10)))
    playback = play(arrivals, 0, 1.0, 30)
    assert playback.stalled_at_end
    assert playback.stalls[0].from_s == pytest.approx(11.0, abs=0.05)
    assert total_stalled_s(playback) == pytest.approx(19.0, abs=0.05)


def test_a_track_that_comes_back_ends_the_stall_when_both_fill_the_buffer() -> None:
    picture = realtime(0, 10) + realtime(14, 16, media_s=14.0)
    playback = play(together(of_track(SOUND, realtime(0, 30)), of_track(PICTURE, picture)), 0, 1.0, 30)
    [stall] = playback.stalls
    # The playhead stands at 10 s of the film, and what comes at 14 s is for 14 s.
    assert stall.from_s == pytest.approx(11.0, abs=0.05)
    assert stall.to_s == pytest.approx(14.0, abs=0.05)


def test_it_starts_when_both_tracks_fill_the_buffer() -> None:
    arrivals = together(of_track(SOUND, realtime(10, 20)), of_track(PICTURE, realtime(12, 18, media_s=2.0)))
    assert play(arrivals, 9.5, 1.0, 30).startup_s == pytest.approx(2.5, abs=0.05)


def test_a_stream_with_one_track_plays_with_that_one() -> None:
    assert play(of_track(SOUND, realtime(0, 20)), 0, 1.0, 20).stalls == ()


def test_both_tracks_start_over_with_a_new_connection() -> None:
    anew = [replace(arrival, connection=1) for arrival in together(of_track(SOUND, realtime(10.1, 10)))]
    playback = play(together(of_track(SOUND, realtime(0, 10)), of_track(PICTURE, realtime(0, 10)), anew), 0, 1.0, 20)
    assert playback.stalled_at_end
    assert playback.stalls[0].from_s == pytest.approx(10.1)


@given(silence_s=st.floats(min_value=0, max_value=8), buffer_s=st.floats(min_value=0.1, max_value=4))
def test_more_buffer_never_means_more_stalls(silence_s: float, buffer_s: float) -> None:
    arrivals = realtime(0, 10) + realtime(10 + silence_s, 10, media_s=10.04)
    small = play(arrivals, 0, buffer_s, 20)
    large = play(arrivals, 0, buffer_s + 1, 20)
    assert len(large.stalls) <= len(small.stalls)
    assert all(stall.length_s >= 0 for stall in small.stalls)
