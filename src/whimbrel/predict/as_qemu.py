"""A pre-copy move as QEMU really makes it: when it reads its dirty bitmap, and when it stops the guest.

QEMU does not send a round to its end before it looks. It sends until what is left, by its own count, is less than the pause
limit times the rate it measures; then it reads the bitmap, which adds what was dirtied since the last reading. Is there still
less than that, it stops the guest and sends the rest; otherwise it goes on, and the next reading comes after what was
added has been sent. Source: QEMU 10.0, migration/migration.c (``migration_iteration_run``, ``migration_update_counters``)
and migration/ram.c (``ram_state_pending_exact``, ``ram_save_iterate``, which sends for 50 ms at a time).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.errors import UsageError
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import NEVER_S

# Half of the 50 ms that QEMU sends before it looks again: by so much it is below the limit on average when it does.
_LOOK_S = 0.025


@dataclass(frozen=True)
class QemuMove:
    """How a move goes, from the first byte to the last; None where it never ends by itself.

    ``pause_s`` is how long sending the rest takes once the guest has stopped, and at least and at most: nobody knows when within
    its 50 ms QEMU looks. ``forced`` says that the limit on rounds ended it.
    """

    converges: bool
    forced: bool = False
    rounds: int | None = None
    memory_s: float | None = None
    pause_s: float | None = None
    least_pause_s: float | None = None
    most_pause_s: float | None = None
    sent_bytes: float | None = None


def move_as_qemu(
    curve: DirtyCurve,
    bandwidth_bytes_per_s: float,
    pause_limit_s: float,
    most_rounds: int,
    content_of_last: Callable[[float], float],
    never_s: float = NEVER_S,
) -> QemuMove:
    """The rounds of a move; ``most_rounds`` is when the guest is stopped whatever is left (``migration.max_rounds``).

    ``content_of_last`` says how many of the guest's last so many pages are not zeros: QEMU sends them by address.

    Worked example: 10,000 pages that are not zero, none ever dirtied, 1,000 pages/s, a pause limit of 1 s: QEMU reads the bitmap
    when 975 pages are left on average, nothing was added, and the guest stops for what they take: 0.975 s after 9.025 s.
    """
    if not (bandwidth_bytes_per_s > 0 and pause_limit_s > 0):
        raise UsageError("a bandwidth and a pause limit must be above 0")
    first_bytes, page_bytes = curve.first_round_bytes, curve.page_cost_bytes
    limit_bytes, look_bytes = bandwidth_bytes_per_s * pause_limit_s, bandwidth_bytes_per_s * _LOOK_S

    def content_bytes(counted_bytes: float) -> float:
        """What is left of this round when so much is, by QEMU's count: the first has zeros in it, what was dirtied has none."""
        counted_bytes = max(0.0, counted_bytes)
        found_bytes = content_of_last(counted_bytes / page_bytes) * page_bytes if rounds == 1 else counted_bytes
        return min(left_bytes, found_bytes)

    left_bytes = first_bytes
    memory_s = sent_bytes = 0.0
    rounds = 0
    last_s: float | None = None
    while True:
        rounds += 1
        counted_bytes = limit_bytes - look_bytes
        kept_bytes = content_bytes(counted_bytes)
        length_s = (left_bytes - kept_bytes) / bandwidth_bytes_per_s
        memory_s += length_s
        sent_bytes += left_bytes - kept_bytes
        if memory_s > never_s:
            return QemuMove(converges=False)
        # What was dirtied but had not been sent yet is not sent twice.
        dirtied_bytes = curve.bytes(length_s) * (1 - min(1.0, kept_bytes / first_bytes if first_bytes else 0.0))
        counted_bytes = (counted_bytes if rounds == 1 else kept_bytes) + dirtied_bytes
        forced = rounds > most_rounds
        if counted_bytes < limit_bytes or forced:
            least_bytes = dirtied_bytes + content_bytes(limit_bytes - 2 * look_bytes)
            most_bytes = dirtied_bytes + content_bytes(limit_bytes)
            return QemuMove(
                converges=True,
                forced=forced,
                rounds=rounds,
                memory_s=memory_s,
                pause_s=(kept_bytes + dirtied_bytes) / bandwidth_bytes_per_s,
                least_pause_s=least_bytes / bandwidth_bytes_per_s,
                most_pause_s=(most_bytes if forced else min(most_bytes, limit_bytes)) / bandwidth_bytes_per_s,
                sent_bytes=sent_bytes + kept_bytes + dirtied_bytes,
            )
        left_bytes = kept_bytes + dirtied_bytes
        if last_s is not None and length_s >= last_s and most_rounds * length_s > never_s:
            return QemuMove(converges=False)
        last_s = length_s
