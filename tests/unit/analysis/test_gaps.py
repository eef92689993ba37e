from __future__ import annotations

import numpy as np
import pytest

from whimbrel.analysis.gaps import Silence, ends_in_silence, longest_silence

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


def test_a_silence_at_the_end_is_noticed() -> None:
    assert ends_in_silence(np.array([1, 2, 3]), 100, 50)
    assert not ends_in_silence(np.array([1, 2, 90]), 100, 50)
    assert ends_in_silence(np.array([], dtype=np.int64), 100, 50)
