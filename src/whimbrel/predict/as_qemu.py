"""A pre-copy move as QEMU really makes it: when it reads its dirty bitmap, and when it stops the guest.

QEMU does not send a round to its end before it looks. It sends until what is left, by its own count, is less than the pause
limit times the rate it measures; then it reads the bitmap, which adds what was dirtied since the last reading. Is there still
less than that, it stops the guest and sends the rest; otherwise it goes on, and the next reading comes after what was
added has been sent. Source: QEMU 10.0, migration/migration.c (``migration_iteration_run``, ``migration_update_counters``)
and migration/ram.c (``ram_state_pending_exact``, ``ram_save_iterate``, which sends for 50 ms at a time).
"""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.errors import UsageError
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import NEVER_S

# Half of the 50 ms that QEMU sends before it looks again: by so much it is below the limit on average when it does.
_LOOK_S = 0.025


@dataclass(frozen=True)
class QemuMove:
    """How a move goes, from the first byte to the last; None where it never ends by itself.

    ``pause_s`` is how long sending the rest takes once the guest has stopped: as its pages are likely to be, and at least and at
    most: QEMU counts pages of zeros, which take next to nothing, like others. ``forced`` says that the limit on
    rounds ended it.
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
    curve: DirtyCurve, bandwidth_bytes_per_s: float, pause_limit_s: float, most_rounds: int, never_s: float = NEVER_S
) -> QemuMove:
    """The rounds of a move; ``most_rounds`` is when the guest is stopped whatever is left (``migration.max_rounds``).

    Worked example: 10,000 pages that are not zero, none ever dirtied, 1,000 pages/s, a pause limit of 1 s: QEMU reads the bitmap
    when 975 pages are left on average, nothing was added, and the guest stops for what they take: 0.975 s after 9.025 s.
    """
    if not (bandwidth_bytes_per_s > 0 and pause_limit_s > 0):
        raise UsageError("a bandwidth and a pause limit must be above 0")
    first_bytes = curve.first_round_bytes
    limit_bytes = bandwidth_bytes_per_s * pause_limit_s
    # By its own count pages of zeros are left like others; what dirtied pages hold is not zeros.
    left_bytes, share_of_content = first_bytes, 1 - curve.spec.pages_zero / curve.spec.pages_total
    memory_s = sent_bytes = 0.0
    rounds = 0
    last_s: float | None = None
    while True:
        rounds += 1
        counted_bytes = max(0.0, limit_bytes - bandwidth_bytes_per_s * _LOOK_S)
        kept_bytes = min(left_bytes, counted_bytes * share_of_content)
        counted_bytes = kept_bytes / share_of_content if share_of_content else counted_bytes
        length_s = (left_bytes - kept_bytes) / bandwidth_bytes_per_s
        memory_s += length_s
        sent_bytes += left_bytes - kept_bytes
        if memory_s > never_s:
            return QemuMove(converges=False)
        # What was dirtied but had not been sent yet is not sent twice.
        dirtied_bytes = curve.bytes(length_s) * (1 - min(1.0, kept_bytes / first_bytes if first_bytes else 0.0))
        left_bytes, counted_bytes = kept_bytes + dirtied_bytes, counted_bytes + dirtied_bytes
        share_of_content = left_bytes / counted_bytes if counted_bytes else 1.0
        forced = rounds > most_rounds
        if counted_bytes < limit_bytes or forced:
            # Of the first round's rest nobody knows which part is zeros; of later ones, only when QEMU looked.
            look_bytes = bandwidth_bytes_per_s * _LOOK_S
            least_bytes = dirtied_bytes if rounds == 1 else max(dirtied_bytes, left_bytes - look_bytes)
            most_bytes = counted_bytes if rounds == 1 else counted_bytes + look_bytes
            return QemuMove(
                converges=True,
                forced=forced,
                rounds=rounds,
                memory_s=memory_s,
                pause_s=left_bytes / bandwidth_bytes_per_s,
                least_pause_s=least_bytes / bandwidth_bytes_per_s,
                most_pause_s=(most_bytes if forced else min(most_bytes, limit_bytes)) / bandwidth_bytes_per_s,
                sent_bytes=sent_bytes + left_bytes,
            )
        if last_s is not None and length_s >= last_s and most_rounds * length_s > never_s:
            return QemuMove(converges=False)
        last_s = length_s
