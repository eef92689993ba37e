"""How much longer a move that is under way will take, from what its job says now. Pure.

A prediction before the move knows the guest's dirty curve; during it, QEMU's own counters are newer: what is left, how fast it
goes, and how fast it grows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_PAGE_BYTES = 4096
# The rate is that of about the last second: a longer look would not see that a link has become slower.
_LOOK_BACK_NS = 1_000_000_000


@dataclass(frozen=True)
class Reading:
    """One look at the job; None for what libvirt did not say."""

    t_ns: int
    transferred_bytes: int | None
    remaining_bytes: int | None
    dirty_pages_per_s: int | None


@dataclass(frozen=True)
class Outlook:
    """Seconds until memory has been sent, and whether it will be as things are; None where that cannot be said yet."""

    left_s: float | None
    converges: bool | None


def readings_of(rows: Iterable[Mapping[str, int | None]]) -> list[Reading]:
    """Rows of the job's series as readings."""
    return [Reading(row["t_ns"] or 0, row["transferred_bytes"], row["remaining_bytes"], row["dirty_pages_per_s"]) for row in rows]


def outlook(readings: Sequence[Reading]) -> Outlook:
    """From the readings so far, oldest first.

    Worked example: 100 MB left, 20 MB sent in the last second, 5 MB/s dirtied: it shrinks by 15 MB/s and is gone in 6.7 s.
    With 20 MB/s dirtied or more it does not shrink: it does not converge.
    """
    known = [reading for reading in readings if reading.transferred_bytes is not None]
    if len(known) < 2 or known[-1].remaining_bytes is None:
        return Outlook(None, None)
    last = known[-1]
    before = next((reading for reading in reversed(known) if last.t_ns - reading.t_ns >= _LOOK_BACK_NS), known[0])
    assert last.transferred_bytes is not None
    assert before.transferred_bytes is not None
    assert last.remaining_bytes is not None
    span_s = (last.t_ns - before.t_ns) / 1e9
    rate = (last.transferred_bytes - before.transferred_bytes) / span_s if span_s > 0 else 0.0
    if rate <= 0:
        return Outlook(None, None)
    # Before its first round has ended QEMU does not know how fast memory changes.
    dirtied = (last.dirty_pages_per_s or 0) * _PAGE_BYTES
    if dirtied >= rate:
        return Outlook(None, False)
    return Outlook(last.remaining_bytes / (rate - dirtied), True if last.dirty_pages_per_s else None)
