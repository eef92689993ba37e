"""Which segment of a playlist comes next, and when the list is loaded again (RFC 8216, 6.3.3 to 6.3.5): cases counted by hand."""

from __future__ import annotations

import math

import pytest

from whimbrel.stream.following import Following, Missed
from whimbrel.stream.playlist import MediaPlaylist, Resource, Segment


def live(
    first: int,
    lengths_s: list[float],
    target_s: float = 4.0,
    *,
    complete: bool = False,
    start_s: float | None = None,
    hold_back_s: float | None = None,
) -> MediaPlaylist:
    segments = tuple(Segment(first + at, Resource(f"http://h/{first + at}.ts"), length) for at, length in enumerate(lengths_s))
    return MediaPlaylist(first, segments, target_s, complete, start_s, 3 * target_s if hold_back_s is None else hold_back_s)


def taken(following: Following) -> int | None:
    """The number of the next segment, which is taken."""
    segment = following.next()
    if segment is not None:
        following.take(segment)
    return segment.number if segment is not None else None


# Playlists, and the segment that a viewer begins with.
BEGINNINGS = {
    "a film": (live(5, [4.0] * 4, complete=True), 5),
    "a film that wants to be begun later": (live(0, [4.0] * 4, complete=True, start_s=8.5), 2),
    "a film that wants to be begun near its end": (live(0, [4.0] * 4, complete=True, start_s=-4.5), 2),
    "a film that wants too much": (live(0, [4.0] * 4, complete=True, start_s=99), 3),
    "a film that wants too much, from its end": (live(0, [4.0] * 4, complete=True, start_s=-99), 0),
    "a live stream": (live(100, [4.0] * 6), 103),
    "a short live stream": (live(100, [4.0, 4.0]), 100),
    "segments shorter than the target": (live(7, [2.0] * 10), 11),
    "a live stream that wants more room": (live(100, [4.0] * 6, hold_back_s=17), 101),
    "a live stream that wants to be begun at its beginning": (live(100, [4.0] * 6, start_s=0), 100),
    "a live stream that wants to be begun too near its end": (live(100, [4.0] * 6, start_s=-4), 103),
}


@pytest.mark.parametrize(("playlist", "number"), BEGINNINGS.values(), ids=BEGINNINGS)
def test_where_a_viewer_begins(playlist: MediaPlaylist, number: int) -> None:
    following = Following()
    assert following.hear(playlist, 0.0) is None
    assert taken(following) == number
    assert taken(following) == (number + 1 if number < playlist.last else None)


def test_a_film_goes_on_where_it_was_lost_but_a_live_stream_at_its_end() -> None:
    film, stream = Following(resume_at=2), Following(resume_at=101)
    film.hear(live(0, [4.0] * 4, complete=True), 0.0)
    stream.hear(live(100, [4.0] * 6), 0.0)
    assert (taken(film), taken(stream)) == (2, 103)


def test_a_film_is_loaded_once_and_ends() -> None:
    following = Following()
    following.hear(live(0, [4.0, 4.0], complete=True), 10.0)
    assert following.due_s == math.inf
    assert [taken(following), following.at_end, taken(following), following.at_end] == [0, False, 1, True]
    assert following.late_s(1e9) is None


def test_a_live_playlist_is_loaded_again_after_its_target_or_half_of_it_when_nothing_changed() -> None:
    following = Following()
    following.hear(live(0, [4.0] * 3), 10.0)
    assert following.due_s == 14.0
    following.hear(live(0, [4.0] * 3), 14.0)
    assert following.due_s == 16.0
    following.hear(live(1, [4.0] * 3), 16.0)
    assert following.due_s == 20.0
    # A target that changes counts from then on; one of nothing must not become a flood.
    following.hear(live(2, [1.0] * 3, 1.0), 20.0)
    assert following.due_s == 21.0
    following.hear(live(3, [0.01] * 3, 0.0), 21.0)
    assert following.due_s == 21.25


def test_a_live_stream_that_grows_and_ends() -> None:
    following = Following()
    following.hear(live(0, [4.0] * 3), 0.0)
    assert [taken(following) for _ in range(4)] == [0, 1, 2, None]
    assert not following.at_end
    following.hear(live(1, [4.0] * 3), 4.0)
    assert [taken(following), taken(following), following.at_end] == [3, None, False]
    following.hear(live(1, [4.0] * 3, complete=True), 8.0)
    assert following.at_end


def test_segments_that_left_the_window_are_missed_with_the_lengths_that_were_told() -> None:
    following = Following()
    following.hear(live(0, [3.0, 4.0, 3.5]), 0.0)
    assert taken(following) == 0
    segment = following.next()
    assert segment is not None
    following.hear(live(4, [4.0] * 3), 16.0)
    assert not following.offers(segment)
    assert following.missed() == Missed((4.0, 3.5, None))
    assert following.missed() is None
    assert taken(following) == 4


@pytest.mark.parametrize(
    ("first", "told"), [(1_764_000_000, "jumped from segment 12 to 1764000000"), (0, "went back from segment 12 to 2")]
)
def test_a_stream_that_begins_anew_is_said_and_begun_as_any(first: int, told: str) -> None:
    following = Following()
    following.hear(live(10, [4.0] * 3), 0.0)
    assert taken(following) == 10
    assert following.hear(live(first, [4.0] * 3), 8.0) == f"the playlist {told}"
    assert following.missed() is None
    assert taken(following) == first


def test_a_stale_copy_changes_nothing_unless_it_stays() -> None:
    following = Following()
    following.hear(live(10, [4.0] * 3), 0.0)
    assert [taken(following) for _ in range(3)] == [10, 11, 12]
    assert following.hear(live(9, [4.0] * 3), 4.0) is None
    assert taken(following) is None
    assert following.hear(live(11, [4.0] * 3), 8.0) is None
    assert taken(following) == 13
    # Its media sequence has begun anew at a number that looks like an older copy's.
    assert following.hear(live(9, [4.0] * 3), 12.0) is None
    assert following.hear(live(9, [4.0] * 3), 19.0) is None
    assert following.hear(live(9, [4.0] * 3), 20.0) == "the playlist went back from segment 13 to 11"
    assert taken(following) == 9


def test_a_live_playlist_that_does_not_change_is_late() -> None:
    following = Following()
    following.hear(live(0, [4.0] * 3), 10.0)
    following.hear(live(0, [4.0] * 3), 14.0)
    assert following.late_s(16.0) is None
    assert following.late_s(16.5) == 6.5
    following.hear(live(1, [4.0] * 3), 17.0)
    assert following.late_s(17.0) is None
