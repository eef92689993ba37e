from __future__ import annotations

import numpy as np
import pytest

from whimbrel.analysis.gaps import Gap, Recording, Silence, longest_silence

MS = 1_000_000


def test_the_longest_silence_that_touches_the_window_is_found() -> None:
    moments = np.array([0, 40, 80, 380, 420, 1420]) * MS
    assert longest_silence(moments, 0, 500 * MS) == Silence(420 * MS, 1420 * MS)
    assert longest_silence(moments, 0, 400 * MS) == Silence(80 * MS, 380 * MS)
    found = longest_silence(moments, 100 * MS, 100 * MS)
    assert found is not None
    assert found.length_ms == pytest.approx(300)


def test_order_of_arrival_does_not_matter() -> None:
    assert longest_silence(np.array([300, 0, 100]), 0, 300) == Silence(100, 300)


def test_what_is_not_known_is_none() -> None:
    assert longest_silence(np.array([], dtype=np.int64), 0, 10) is None
    assert longest_silence(np.array([5]), 0, 10) is None
    assert longest_silence(np.array([1, 2]), 100, 200) is None


def answers(until_ms: int, every_ms: int = 5) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(0, until_ms + 1, every_ms, dtype=np.int64) * MS


@pytest.mark.parametrize("silent_ms", [20, 1800, 5000])
def test_a_silence_still_open_at_the_end_makes_the_gap_known_from_below_only(silent_ms: int) -> None:
    recording = Recording(answers(3000), (3000 + silent_ms) * MS)
    assert recording.gap(1000 * MS, 2000 * MS, usual_ms=6.0) == Gap(None, silent_ms)


def test_a_shorter_silence_at_the_end_does_not_hide_a_longer_one_before_it() -> None:
    moments = np.concatenate([answers(1000), answers(1600) + 1300 * MS])
    assert Recording(moments, 3000 * MS).gap(1000 * MS, 1300 * MS, usual_ms=6.0) == Gap(None, 300)


def test_the_end_of_a_recording_is_no_silence_where_it_is_no_longer_than_usual() -> None:
    recording = Recording(answers(3000), 3004 * MS)
    assert recording.usual_ms(1000 * MS) == 5
    assert recording.gap(1000 * MS, 2000 * MS, usual_ms=5.0) == Gap(5.0)
    assert recording.gap(1000 * MS, 2000 * MS, usual_ms=None) == Gap(5.0)


def test_a_silence_that_began_long_after_the_move_is_not_the_moves_unless_nothing_came_back() -> None:
    assert Recording(answers(9000), 10_500 * MS).gap(1000 * MS, 2000 * MS, usual_ms=5.0) == Gap(5.0)
    assert Recording(answers(9000), 11_500 * MS).gap(1000 * MS, 2000 * MS, usual_ms=5.0) == Gap(None, 2500)


def test_a_recording_that_ends_before_the_move_says_how_long_the_gap_was_at_least() -> None:
    moments = np.concatenate([answers(1000), answers(100) + 1300 * MS])
    assert Recording(moments, 1400 * MS).gap(1000 * MS, 2000 * MS, usual_ms=5.0) == Gap(None, 300)


def test_of_nothing_heard_nothing_is_known() -> None:
    nothing = Recording(np.array([], dtype=np.int64), 1000 * MS)
    assert nothing.gap(100 * MS, 200 * MS, None) == Gap(None, None)
    assert nothing.usual_ms(100 * MS) is None
