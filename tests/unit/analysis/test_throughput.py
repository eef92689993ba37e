from __future__ import annotations

import numpy as np
import pytest

from whimbrel.analysis.throughput import seconds_below

S = 1_000_000_000
EVERY_NS = 20_000_000


def steady(from_s: float, to_s: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(int(from_s * S), int(to_s * S), EVERY_NS, dtype=np.int64)


def below(arrived: np.ndarray[tuple[int], np.dtype[np.int64]], share: float) -> float | None:
    return seconds_below(arrived, np.full(len(arrived), 1000, dtype=np.int64), share, (0, 10 * S), (10 * S, 20 * S))


def test_a_steady_stream_is_never_low() -> None:
    assert below(steady(0, 20), 0.9) == 0.0


@pytest.mark.parametrize(("share", "low_s"), [(0.5, 2.0), (0.25, 1.5), (0.75, 2.5)])
def test_a_gap_is_low_from_the_share_missing_until_the_share_is_back(share: float, low_s: float) -> None:
    # Silent for 2 s: low from (1 - share) s after it begins until share s after it ends.
    assert below(np.concatenate((steady(0, 12), steady(14, 20))), share) == pytest.approx(2.0 - (1 - share) + share, abs=0.11)
    assert low_s == pytest.approx(2.0 - (1 - share) + share)


def test_what_was_never_seen_is_unknown() -> None:
    assert below(steady(10, 20), 0.5) is None
    arrived = steady(0, 20)
    sizes = np.full(len(arrived), 1000, dtype=np.int64)
    assert seconds_below(arrived, sizes, 0.5, (9 * S, 10 * S), (10 * S, 20 * S)) is None
