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
# Over a shorter time a link's own unevenness is seen.
_STRETCH_NS = 200_000_000


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


@dataclass(frozen=True)
class ExpectedEnd:
    """Seconds until memory has been sent: as things are, and at the fastest and slowest that was seen of late.

    ``most_s`` is None where it would not end at the slowest, and all are where nothing can be said.
    """

    least_s: float | None
    middle_s: float | None
    most_s: float | None
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


def expected_end(readings: Sequence[Reading]) -> ExpectedEnd:
    """When it will be done, with what its speed of late leaves open; it narrows as less is left.

    Worked example: 100 MB left, 20 MB sent in the last second, 15 MB/s at the slowest and 25 at the fastest, 5 MB/s dirtied:
    6.7 s, between 5 and 10.
    """
    now = outlook(readings)
    known = [reading for reading in readings if reading.transferred_bytes is not None]
    if now.left_s is None or known[-1].remaining_bytes is None:
        return ExpectedEnd(None, None, None, now.converges)
    rates = _rates(known)
    dirtied = (known[-1].dirty_pages_per_s or 0) * _PAGE_BYTES
    shrinking = [rate - dirtied for rate in (max(rates), min(rates))] if rates else [0.0, 0.0]
    least_s, most_s = (known[-1].remaining_bytes / each if each > 0 else None for each in shrinking)
    return ExpectedEnd(
        None if least_s is None else min(least_s, now.left_s), now.left_s,
        None if most_s is None else max(most_s, now.left_s), now.converges,
    )  # fmt: skip


def _rates(known: Sequence[Reading]) -> list[float]:
    """What was sent each second, in each stretch of the last two seconds."""
    found, end = list[float](), known[-1]
    for reading in reversed(known[:-1]):
        span_ns = end.t_ns - reading.t_ns
        if known[-1].t_ns - reading.t_ns > 2 * _LOOK_BACK_NS:
            break
        if span_ns >= _STRETCH_NS:
            found.append(((end.transferred_bytes or 0) - (reading.transferred_bytes or 0)) * 1e9 / span_ns)
            end = reading
    return found
