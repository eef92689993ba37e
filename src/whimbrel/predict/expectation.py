"""What to expect of a move of one guest over one link: each figure with the interval that the measurements leave. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whimbrel.predict.as_qemu import End, Limits, QemuMove, move_as_qemu
from whimbrel.predict.capacity import bandwidth_for, shortest_pause_s
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.overheads import Overheads
from whimbrel.predict.post_copy import predict_post_copy
from whimbrel.predict.profile import Profile
from whimbrel.predict.range import Range
from whimbrel.predict.switch import viewers_stall

_NOTHING = Range.exactly(0.0)


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What to expect; None for figures of a move that may never end, and for what its technique does not have.

    ``converges`` is None when the measurements leave it open. ``end`` says how it ends, or why it may not. ``rest_s`` is how long
    the rest takes once the guest has stopped, as the model has it: what earlier moves have shown of that is in the figures only.
    ``stalls`` says for each player buffer, in seconds, whether viewers will run out of film; None when that is open.
    """

    converges: bool | None
    end: End
    rest_s: float | None = None
    rounds: int | None = None
    total_s: Range | None = None
    downtime_s: Range | None = None
    blackout_s: Range | None = None
    reachability_gap_s: Range | None = None
    service_gap_s: Range | None = None
    sent_bytes: Range | None = None
    # For the wished pause, and on this link: only rounds can come to a pause or miss it.
    bandwidth_needed_bytes_per_s: float | None = None
    shortest_pause_s: float | None = None
    stalls: dict[float, bool | None]

    @property
    def forced(self) -> bool:
        """Whether only a limit on rounds or time ends it."""
        return self.end in ("rounds", "time-out")


@dataclass(frozen=True)
class _Dark:
    """How long nobody is there, by each observer: docs/measuring.md has the definitions."""

    downtime_s: Range
    blackout_s: Range
    reachability_gap_s: Range
    service_gap_s: Range

    @staticmethod
    def after(downtime_s: Range, overheads: Overheads) -> _Dark:
        """The figure that is expected, from QEMU's downtime."""
        blackout_s = downtime_s.plus(overheads.switch_s)
        reachability_gap_s = blackout_s.plus(overheads.announce_s)
        return _Dark(downtime_s, blackout_s, reachability_gap_s, reachability_gap_s.plus(overheads.packet_s))


def expect(
    profile: Profile,
    link_bytes_per_s: Range,
    limits: Limits,
    overheads: Overheads,
    buffers_s: Sequence[float] = (),
    most_bytes_per_s: float = math.inf,
) -> Expectation:
    """From a guest's profile and what its link gives. The interval is that of the model at the corners of what was measured.

    ``most_bytes_per_s`` limits the rate while the guest runs; once it stands still QEMU takes all that the link gives
    (QEMU 10.0, migration/migration.c, ``migration_completion_precopy``).
    """
    rates, curve = link_bytes_per_s.at_most(most_bytes_per_s), DirtyCurve(profile.curve)
    moves = _moves(profile, rates, limits)
    endless = next((move for move in moves if move.course is None), None)
    found = Expectation(
        converges=_converges(moves),
        end=moves[0].end if endless is None else endless.end,
        bandwidth_needed_bytes_per_s=bandwidth_for(curve, limits.pause_s),
        shortest_pause_s=shortest_pause_s(curve, rates.middle),
        stalls=dict.fromkeys(buffers_s),
    )
    if endless is not None:
        return found
    courses = [move.course for move in moves if move.course is not None]
    rest_s = Range.hull([course.pause_s for course in courses]).times(rates.middle / link_bytes_per_s.middle)
    pause_s = replace(rest_s, middle=min(rest_s.most, max(rest_s.least, rest_s.middle * overheads.rest_share)))
    dark = _Dark.after(pause_s.plus(overheads.stop_over(link_bytes_per_s)), overheads)
    return replace(
        found,
        rest_s=rest_s.middle,
        rounds=courses[0].rounds,
        total_s=_total_s(Range.hull([Range.exactly(course.memory_s) for course in courses]), dark, overheads),
        sent_bytes=Range.hull([Range.exactly(course.sent_bytes) for course in courses]),
        stalls=_stalls(dark.service_gap_s, buffers_s),
        **vars(dark),
    )


def _moves(profile: Profile, rates: Range, limits: Limits) -> list[QemuMove]:
    """As it is likely to go; then with curve and rate at the ends of what they may be."""
    ways = [(0.0, rates.middle), *itertools.product((-1.0, 1.0), (rates.least, rates.most))]
    return [move_as_qemu(DirtyCurve(profile.shifted(errors)), rate, limits, profile.content_of_last) for errors, rate in ways]


def _converges(moves: Sequence[QemuMove]) -> bool | None:
    """Whether it ends by itself; None where some do and some do not."""
    verdicts = {move.end == "by itself" for move in moves}
    return next(iter(verdicts)) if len(verdicts) == 1 else None


def expect_standing_still(
    profile: Profile, link_bytes_per_s: Range, limits: Limits, overheads: Overheads, buffers_s: Sequence[float] = ()
) -> Expectation:
    """``paused``: everything is sent while the guest stands still."""
    size_bytes = DirtyCurve(profile.curve).first_round_bytes
    memory_s = Range.exactly(size_bytes).over(link_bytes_per_s)
    if not limits.stops_then and memory_s.most > limits.seconds:
        in_time = None if memory_s.least <= limits.seconds else False
        return Expectation(converges=in_time, end="not in time", stalls=dict.fromkeys(buffers_s))
    # What lies in buffers when it stops is nothing yet.
    dark = _Dark.after(memory_s.plus(overheads.stop_s), overheads)
    return Expectation(
        converges=True,
        end="by itself",
        total_s=_total_s(_NOTHING, dark, overheads),
        sent_bytes=Range.exactly(size_bytes),
        stalls=_stalls(dark.service_gap_s, buffers_s),
        **vars(dark),
    )


def expect_post_copy(
    profile: Profile, link_bytes_per_s: Range, overheads: Overheads, buffers_s: Sequence[float] = ()
) -> Expectation:
    """``post-copy``: the guest goes first, and waits for each page that it touches before it came.

    How long its service is silent meanwhile lies between the switch alone and the whole transfer: which pages it needs first
    nobody knows beforehand (``post_copy.predict_post_copy`` has the least of it). What QEMU will call its downtime, which
    has no memory in it, is not predicted.
    """
    curve = DirtyCurve(profile.curve)
    size_bytes = curve.first_round_bytes
    memory_s = Range.exactly(size_bytes).over(link_bytes_per_s)
    dark = _Dark.after(overheads.stop_over(link_bytes_per_s), overheads)
    stalled_s = predict_post_copy(curve, link_bytes_per_s.middle, overheads.switch_s.least).stalled_s
    total_s = _total_s(memory_s, dark, overheads)
    gap_s = dark.service_gap_s
    service_gap_s = Range(min(gap_s.middle + stalled_s, total_s.middle), gap_s.least, gap_s.most + memory_s.most)
    return Expectation(
        converges=True,
        end="by itself",
        total_s=total_s,
        blackout_s=dark.blackout_s,
        reachability_gap_s=dark.reachability_gap_s,
        service_gap_s=service_gap_s,
        sent_bytes=Range(size_bytes, size_bytes, size_bytes * 1.02),
        stalls=_stalls(service_gap_s, buffers_s),
    )


def _total_s(running_s: Range, dark: _Dark, overheads: Overheads) -> Range:
    """From the call to its return: what goes before, memory while the guest runs here or there, the blackout, what follows."""
    return overheads.before_s.plus(running_s).plus(dark.blackout_s).plus(overheads.after_s)


def _stalls(gap_s: Range, buffers_s: Sequence[float]) -> dict[float, bool | None]:
    """Whether a player with each buffer stalls; None when the interval leaves it open."""
    found: dict[float, bool | None] = {}
    for ahead_s in buffers_s:
        least, most = viewers_stall(gap_s.least, ahead_s), viewers_stall(gap_s.most, ahead_s)
        found[ahead_s] = least if least == most else None
    return found
