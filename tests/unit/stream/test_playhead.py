"""When a viewer plays and when it has run dry: cases counted by hand."""

from __future__ import annotations

from whimbrel.stream.playhead import Playhead


def test_it_plays_once_its_buffer_is_full_and_runs_dry() -> None:
    head = Playhead(1, 4.0, 0.0)
    head.receive(0, 2.0, 1.0)
    assert (head.held_s(0, 3.0), head.dry_for_s(3.0)) == (2.0, 3.0)
    head.receive(0, 2.0, 4.0)
    assert (head.held_s(0, 5.0), head.dry_for_s(5.0)) == (3.0, 0.0)
    assert (head.held_s(0, 9.0), head.dry_for_s(9.0)) == (0.0, 1.0)
    # It waits for a full buffer again.
    head.receive(0, 2.0, 10.0)
    assert head.dry_for_s(10.5) == 2.5
    head.receive(0, 2.0, 11.0)
    assert (head.held_s(0, 12.0), head.dry_for_s(12.0)) == (3.0, 0.0)


def test_sound_alone_plays_nothing() -> None:
    head = Playhead(2, 2.0, 0.0)
    head.receive(1, 10.0, 0.0)
    assert head.dry_for_s(5.0) == 5.0
    head.receive(0, 3.0, 5.0)
    assert head.dry_for_s(7.0) == 0.0
    assert head.dry_for_s(10.0) == 2.0
    assert head.held_s(1, 10.0) == 7.0


def test_the_end_of_a_film_is_played_however_short() -> None:
    head = Playhead(1, 6.0, 0.0)
    head.receive(0, 2.0, 0.0)
    head.complete(0, 1.0)
    assert (head.dry_for_s(2.0), head.dry_for_s(4.0)) == (0.0, 1.0)


def test_a_hole_is_nothing_to_play_until_something_comes_after_it() -> None:
    head = Playhead(1, 2.0, 0.0)
    head.skip(0, 100.0)
    assert head.dry_for_s(20.0) == 20.0
    head.receive(0, 2.0, 20.0)
    assert head.held_s(0, 20.0) == 102.0
