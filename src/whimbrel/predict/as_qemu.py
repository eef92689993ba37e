"""A pre-copy move as QEMU really makes it: when it reads its dirty bitmap, and when it stops the guest.

QEMU does not send a round to its end before it looks. It sends until what is left, by its own count, is less than the pause
limit times the rate it measures; then it reads the bitmap, which adds what was dirtied since the last reading. Is there still
less than that, it stops the guest and sends the rest; otherwise it goes on, and the next reading comes after what was
added has been sent. Source: QEMU 10.0, migration/migration.c (``migration_iteration_run``, ``migration_update_counters``)
and migration/ram.c (``ram_state_pending_exact``, ``ram_save_iterate``, which sends for 50 ms at a time, by address).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.errors import UsageError
from whimbrel.predict.curve import HEADER_BYTES, DirtyCurve
from whimbrel.predict.rounds import NEVER_S

# Half of the 50 ms that QEMU sends before it looks again: by so much it is below the limit on average when it does.
_LOOK_S = 0.025


@dataclass(frozen=True)
class Limits:
    """When the guest is stopped: for a pause of so long, or whatever is left after so many rounds, or seconds of sending.

    Without ``stops_then`` it is not stopped after those seconds, but the move is given up.
    """

    pause_s: float
    rounds: int
    seconds: float = math.inf
    stops_then: bool = True


@dataclass(frozen=True)
class QemuMove:
    """How a move goes, from the first byte to the last; None where it never ends by itself.

    ``pause_s`` is how long sending the rest takes once the guest has stopped, and at least and at most: nobody knows when within
    its 50 ms QEMU looks. ``forced`` says that a limit on rounds or time ended it.
    """

    converges: bool
    forced: bool = False
    rounds: int | None = None
    memory_s: float | None = None
    pause_s: float | None = None
    least_pause_s: float | None = None
    most_pause_s: float | None = None
    sent_bytes: float | None = None


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
        """By QEMU's count."""
        return self.tail + self.fresh

    def last(self, pages: float) -> _Left:
        """What is left when so many pages are."""
        return _Left(max(0.0, pages - self.fresh), min(self.fresh, pages))


def move_as_qemu(
    curve: DirtyCurve,
    bandwidth_bytes_per_s: float,
    limits: Limits,
    content_of_last: Callable[[float], float],
    never_s: float = NEVER_S,
) -> QemuMove:
    """The rounds of a move. ``content_of_last`` says how many of the guest's last so many pages are not zeros.

    Worked example: 10,000 pages that are not zero, none ever dirtied, 1,000 pages/s, a pause limit of 1 s: QEMU reads the bitmap
    when 975 pages are left on average, nothing was added, and the guest stops for what they take: 0.975 s after 9.025 s.
    """
    if not (bandwidth_bytes_per_s > 0 and limits.pause_s > 0):
        raise UsageError("a bandwidth and a pause limit must be above 0")

    def sending_s(what: _Left) -> float:
        content = content_of_last(what.tail)
        return ((content + what.fresh) * curve.page_cost_bytes + (what.tail - content) * HEADER_BYTES) / bandwidth_bytes_per_s

    pages_per_s = bandwidth_bytes_per_s / curve.page_cost_bytes
    most_pages, look_pages = limits.pause_s * pages_per_s, _LOOK_S * pages_per_s
    left = _Left(curve.spec.pages_total, 0.0)
    content = max(1.0, curve.spec.pages_total - curve.spec.pages_zero)
    ever_dirtied = max(1.0, curve.spec.windows[-1].dirty_pages)

    memory_s, rounds, last_s = 0.0, 0, math.inf
    while True:
        rounds += 1
        kept = left.last(min(left.pages, max(0.0, most_pages - look_pages)))
        length_s = sending_s(left) - sending_s(kept)
        if memory_s + length_s >= limits.seconds:
            if not limits.stops_then:
                return QemuMove(converges=False)
            over_s = limits.seconds - memory_s
            unsent = left.last(left.pages * (1 - over_s / length_s) + kept.pages * over_s / length_s)
            # What had not been sent yet when it was dirtied was dirty already.
            already = content_of_last(unsent.tail) / content + unsent.fresh / ever_dirtied
            pause_s = sending_s(left) - over_s + curve.pages(over_s) * max(0.0, 1 - already) / pages_per_s
            return _ended(limits.seconds, (pause_s, pause_s, pause_s), rounds, bandwidth_bytes_per_s, forced=True)
        memory_s += length_s
        if memory_s > never_s:
            return QemuMove(converges=False)
        # Of what is kept of later rounds some is dirtied again, too. That is left out: in moves that were measured, guests
        # dirtied about as much more than their profiles had said.
        dirtied = curve.pages(length_s) * (1 - content_of_last(kept.tail) / content)
        now = _Left(kept.tail, kept.fresh + dirtied)
        forced = now.pages >= most_pages
        if not forced or rounds >= limits.rounds:
            pauses_s = [
                sending_s(left.last(min(left.pages, max(0.0, most_pages - looks * look_pages)))) + dirtied / pages_per_s
                for looks in (1, 2, 0)
            ]
            most_s = math.inf if forced else limits.pause_s
            pause_s, least_s, longest_s = (min(pause_s, most_s) for pause_s in pauses_s)
            return _ended(memory_s, (pause_s, least_s, longest_s), rounds, bandwidth_bytes_per_s, forced)
        left = now
        if length_s >= last_s and limits.rounds * length_s > never_s:
            return QemuMove(converges=False)
        last_s = length_s


def _ended(
    memory_s: float, pauses_s: tuple[float, float, float], rounds: int, bandwidth_bytes_per_s: float, forced: bool
) -> QemuMove:
    pause_s, least_s, most_s = pauses_s
    return QemuMove(
        converges=True,
        forced=forced,
        rounds=rounds,
        memory_s=memory_s,
        pause_s=pause_s,
        least_pause_s=least_s,
        most_pause_s=most_s,
        sent_bytes=(memory_s + pause_s) * bandwidth_bytes_per_s,
    )
