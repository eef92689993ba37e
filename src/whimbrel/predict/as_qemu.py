"""A pre-copy move as QEMU really makes it: when it reads its dirty bitmap, and when it stops the guest.

QEMU does not send a round to its end before it looks. It sends until what is left, by its own count, is less than the pause
limit times the rate it measures; then it reads the bitmap, which adds what was dirtied since the last reading. Is there still
less than that, it stops the guest and sends the rest; otherwise it goes on, and the next reading comes after what was
added has been sent. Source: QEMU 10.0, migration/migration.c (``migration_iteration_run``, ``migration_update_counters``)
and migration/ram.c (``ram_state_pending_exact``, ``ram_save_iterate``, which sends for 50 ms at a time, by address).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from whimbrel.errors import UsageError
from whimbrel.predict.curve import HEADER_BYTES, DirtyCurve
from whimbrel.predict.range import Range
from whimbrel.predict.rounds import NEVER_S

# QEMU sends for so long before it compares again what is left with the limit: it is half of that late on average.
_SLICE_S = 0.05
# So many slices late at most: the limit hangs on the rate that QEMU measured last, which after a look is often too low.
_LATEST = 2.0
# To find by halves which page it is at: to a part in a thousand million.
_HALVINGS = 30


# What ends a move: the pause limit is met; a limit on rounds or seconds stops the guest; those seconds pass, and something else
# happens that is not reckoned (it is aborted, or goes on as post-copy); nothing.
End = Literal["by itself", "rounds", "time-out", "not in time", "never"]


@dataclass(frozen=True)
class Limits:
    """When the guest is stopped: for a pause of so long, or whatever is left after so many rounds, or seconds of sending.

    Without ``stops_then`` something else happens after those seconds.
    """

    pause_s: float
    rounds: int
    seconds: float = math.inf
    stops_then: bool = True


@dataclass(frozen=True)
class Course:
    """How a move that ends goes, from the first byte to the last.

    ``pause_s`` is how long sending the rest takes once the guest has stopped: in an interval, as nobody knows when QEMU looks.
    """

    rounds: int
    memory_s: float
    pause_s: Range
    sent_bytes: float


@dataclass(frozen=True)
class QemuMove:
    """What ends a move, and how it goes until then; None where it does not end, or not in a way that is reckoned."""

    end: End
    course: Course | None = None


@dataclass(frozen=True)
class _Left:
    """What is yet to be sent, in pages as QEMU counts them.

    The end of memory as far as it was never sent (``tail``), in which there may be zeros, and after it what was dirtied since it
    was sent (``fresh``), in which there are none.
    """

    tail: float
    fresh: float

    @property
    def pages(self) -> float:
        """How many pages are left, as QEMU counts them."""
        return self.tail + self.fresh

    def last(self, pages: float) -> _Left:
        """What is left when so many pages are."""
        return _Left(max(0.0, pages - self.fresh), min(self.fresh, pages))


@dataclass(frozen=True)
class _Sending:
    """How QEMU sends a guest's memory at a rate, and when it compares what is left with the limit."""

    curve: DirtyCurve
    bandwidth_bytes_per_s: float
    pause_limit_s: float
    content_of_last: Callable[[float], float]

    @property
    def pages_per_s(self) -> float:
        """How many pages that are not zero are sent per second."""
        return self.bandwidth_bytes_per_s / self.curve.page_cost_bytes

    @property
    def limit_pages(self) -> float:
        """What may be left when the guest stops, by QEMU's count."""
        return self.pause_limit_s * self.pages_per_s

    @property
    def whole(self) -> _Left:
        """The guest's memory before any of it was sent."""
        return _Left(self.curve.spec.pages_total, 0.0)

    def takes_s(self, what: _Left) -> float:
        """How long all of it takes."""
        content = self.content_of_last(what.tail)
        zeros_bytes = (what.tail - content) * HEADER_BYTES
        return ((content + what.fresh) * self.curve.page_cost_bytes + zeros_bytes) / self.bandwidth_bytes_per_s

    def round_s(self, what: _Left, slices: float) -> float:
        """How long QEMU sends until it looks: until the limit is met and so many slices longer, but for one at least."""
        to_limit_s = self.takes_s(what) - self.takes_s(what.last(min(what.pages, self.limit_pages)))
        return min(self.takes_s(what), max(_SLICE_S, to_limit_s + slices * _SLICE_S))

    def left_after(self, what: _Left, for_s: float) -> _Left:
        """What is left then. Pages of zeros go in no time, so it is found by halves which page that is."""
        least, most, all_s = 0.0, what.pages, self.takes_s(what)
        for _ in range(_HALVINGS):
            middle = (least + most) / 2
            if all_s - self.takes_s(what.last(middle)) > for_s:
                least = middle
            else:
                most = middle
        return what.last(most)

    def unsent_share(self, what: _Left) -> float:
        """How likely a page that is dirtied now is still to be sent anyway, so that this adds nothing."""
        content = self.curve.spec.pages_total - self.curve.spec.pages_zero
        ever_dirtied = self.curve.spec.windows[-1].dirty_pages
        tail = self.content_of_last(what.tail) / content if content else 0.0
        return min(1.0, tail + (what.fresh / ever_dirtied if ever_dirtied else 0.0))

    def course(self, rounds: int, memory_s: float, pause_s: Range) -> Course:
        """The course of a move whose guest stops after so long."""
        return Course(rounds, memory_s, pause_s, (memory_s + pause_s.middle) * self.bandwidth_bytes_per_s)


def move_as_qemu(
    curve: DirtyCurve, bandwidth_bytes_per_s: float, limits: Limits, content_of_last: Callable[[float], float]
) -> QemuMove:
    """The rounds of a move. ``content_of_last`` says how many of the guest's last so many pages are not zeros.

    Worked example: 10,000 pages that are not zero, none ever dirtied, 1,000 pages/s, a pause limit of 1 s: QEMU reads the bitmap
    when 975 pages are left on average, nothing was added, and the guest stops for what they take: 0.975 s after 9.025 s.
    """
    if not (bandwidth_bytes_per_s > 0 and limits.pause_s > 0):
        raise UsageError("a bandwidth and a pause limit must be above 0")
    sending = _Sending(curve, bandwidth_bytes_per_s, limits.pause_s, content_of_last)
    left, memory_s, last_s = sending.whole, 0.0, math.inf
    for rounds in itertools.count(1):
        length_s = sending.round_s(left, 0.5)
        if memory_s + length_s >= limits.seconds:
            if not limits.stops_then:
                return QemuMove("not in time")
            pause_s = Range.exactly(_pause_of_a_broken_round_s(sending, left, limits.seconds - memory_s))
            return QemuMove("time-out", sending.course(rounds, limits.seconds, pause_s))
        memory_s += length_s
        kept = sending.left_after(left, length_s)
        # Of what is kept of later rounds some is dirtied again, too. That is left out: in moves that were measured, guests
        # dirtied about as much more than their profiles had said.
        dirtied = curve.pages(length_s) * (1 - sending.unsent_share(_Left(kept.tail, 0.0)))
        forced = kept.pages + dirtied >= sending.limit_pages
        if not forced or rounds >= limits.rounds:
            most_s = math.inf if forced else limits.pause_s
            kept_s = [sending.takes_s(sending.left_after(left, sending.round_s(left, slices))) for slices in (0.5, _LATEST, 0.0)]
            pause_s = Range(*(min(each_s + dirtied / sending.pages_per_s, most_s) for each_s in kept_s))
            return QemuMove("rounds" if forced else "by itself", sending.course(rounds, memory_s, pause_s))
        # Rounds that no longer shrink go on until a limit is met.
        if memory_s > NEVER_S or (length_s >= last_s and min(limits.rounds * length_s, limits.seconds) > NEVER_S):
            break
        left, last_s = _Left(kept.tail, kept.fresh + dirtied), length_s
    return QemuMove("never")


def _pause_of_a_broken_round_s(sending: _Sending, left: _Left, over_s: float) -> float:
    """How long the rest takes when the guest is stopped ``over_s`` after the round began, of which so much was left then."""
    unsent = sending.left_after(left, over_s)
    dirtied = sending.curve.pages(over_s) * (1 - sending.unsent_share(unsent))
    return sending.takes_s(unsent) + dirtied / sending.pages_per_s
