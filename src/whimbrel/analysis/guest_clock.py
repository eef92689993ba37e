"""How far a guest's wall clock was off before its move and after it, and how much of that the move added. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.analysis.phases import conversion_of
from whimbrel.records.trial import GuestClockRead, TrialRecord


@dataclass(frozen=True)
class ClockFigures:
    """In ms; None for what was not read. Offsets are the guest's clock less ours: below 0 it lags.

    ``lag_ms`` is what the guest's clock lost from the reading before to the reading after, ``lag_error_ms`` its half-width;
    ``error_ms`` is the greatest half-width of an offset. ``set_ms`` is the offset after the clock was set, where that was asked.
    """

    before_ms: float | None = None
    after_ms: float | None = None
    set_ms: float | None = None
    error_ms: float | None = None
    lag_ms: float | None = None
    lag_error_ms: float | None = None


def clock_figures(record: TrialRecord) -> ClockFigures:
    """What the readings of a trial's record say.

    A reading lies between its question and its answer: its middle is off by half of what is in between at most. The lag is
    found against our monotonic clock, so that a step of our own wall clock is none of the guest's.
    """
    clock = record.guest_clock
    if clock is None:
        return ClockFigures()
    before, after = clock.before, clock.after
    read = [each for each in (before, after, clock.after_setting) if each is not None]
    lag_ns = None if after is None else (_middle_ns(after) - _middle_ns(before)) - (after.guest_ns - before.guest_ns)
    return ClockFigures(
        before_ms=_offset_ms(record, before),
        after_ms=_offset_ms(record, after),
        set_ms=_offset_ms(record, clock.after_setting),
        error_ms=max(map(_half_ns, read)) / 1e6,
        lag_ms=None if lag_ns is None else lag_ns / 1e6,
        lag_error_ms=None if after is None else (_half_ns(before) + _half_ns(after)) / 1e6,
    )


def _offset_ms(record: TrialRecord, read: GuestClockRead | None) -> float | None:
    if read is None:
        return None
    # To the monotonic clock as all stamps go: what the guest's clock says is a stamp of ours, but for its offset.
    return (conversion_of(record).to_monotonic_ns(read.guest_ns) - _middle_ns(read)) / 1e6


def _middle_ns(read: GuestClockRead) -> int:
    return (read.asked_ns + read.answered_ns) // 2


def _half_ns(read: GuestClockRead) -> int:
    return (read.answered_ns - read.asked_ns + 1) // 2
