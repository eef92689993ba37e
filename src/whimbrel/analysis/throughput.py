"""How long a viewer's throughput was low, by its own measure. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Throughput at a moment is what came in the second before it; looked at ten times a second. A shorter window would
# call the pauses between a film's large and small frames low.
_WINDOW_NS = 1_000_000_000
_STEP_NS = 100_000_000


def seconds_below(
    arrived_ns: NDArray[np.int64], size_bytes: NDArray[np.int64], share: float, usual: tuple[int, int], asked: tuple[int, int]
) -> float | None:
    """Seconds within ``asked`` in which the throughput was below ``share`` of its median within ``usual``.

    ``arrived_ns`` in order, with ``size_bytes`` for each; ``usual`` and ``asked`` are intervals in ns. None when ``usual`` is
    shorter than two seconds or nothing came in it.
    """
    before = _rates(arrived_ns, size_bytes, (usual[0] + _WINDOW_NS, usual[1]))
    if usual[1] - usual[0] < 2 * _WINDOW_NS or not len(before) or np.median(before) <= 0:
        return None
    during = _rates(arrived_ns, size_bytes, asked)
    return float(np.count_nonzero(during < share * np.median(before))) * _STEP_NS / 1e9


def _rates(arrived_ns: NDArray[np.int64], size_bytes: NDArray[np.int64], interval: tuple[int, int]) -> NDArray[np.float64]:
    """Bytes per window that ends at each step of the interval."""
    ends = np.arange(interval[0], interval[1] + 1, _STEP_NS)
    total = np.concatenate(([0], np.cumsum(size_bytes)))
    until = total[np.searchsorted(arrived_ns, ends, side="right")]
    since = total[np.searchsorted(arrived_ns, ends - _WINDOW_NS, side="right")]
    return np.asarray(until - since, dtype=np.float64)
