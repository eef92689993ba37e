"""When a live move has gone on long enough. Pure.

QEMU goes on for ever with a guest that dirties memory faster than it can be sent: it has no limit on rounds or time.
"""

from __future__ import annotations

from typing import Literal

from whimbrel.spec.migration import MigrationSpec

Action = Literal["go on", "stop and copy", "post-copy", "abort"]

_ON_TIMEOUT: dict[str, Action] = {"abort": "abort", "stop-and-copy": "stop and copy", "post-copy": "post-copy"}


def due(spec: MigrationSpec, rounds: int, elapsed_s: float, disk_s: float = 0.0) -> Action:
    """What to do after ``rounds`` passes have begun and ``elapsed_s`` have passed since the call.

    With ``max_rounds`` 3 and ``timeout`` 60 s: in round 3 at 20 s go on; when round 4 begins, stop and copy; at 60 s
    do what ``on_timeout`` says, whatever the round. Post-copy begins with the first round; pre-post-copy when the rounds
    that were asked for are over, or the seconds.

    A disk that moves along is copied before the first round, and took ``disk_s`` of that: ``pre_copy_for`` is for memory alone.
    A guest that stands still would not hasten the disk, so a time-out while it is copied aborts the move.
    """
    if _is_time_for_post_copy(spec, rounds, elapsed_s - disk_s):
        return "post-copy"
    if elapsed_s >= spec.timeout_s:
        if rounds == 0 and spec.storage != "shared":
            return "abort"
        return _ON_TIMEOUT[spec.on_timeout]
    return "stop and copy" if rounds > spec.max_rounds else "go on"


def _is_time_for_post_copy(spec: MigrationSpec, rounds: int, elapsed_s: float) -> bool:
    if spec.technique == "post-copy":
        return rounds >= 1
    if spec.technique != "pre-post-copy":
        return False
    if spec.pre_copy_for_s is not None:
        return rounds >= 1 and elapsed_s >= spec.pre_copy_for_s
    return rounds > spec.pre_copy_rounds


def pause_limit_s(spec: MigrationSpec, elapsed_s: float) -> float:
    """The longest pause that QEMU may plan for now.

    Raised from 0.3 s to 1.3 s in 5 steps, one every 10 s: 0.3 s at once, 0.55 s after 10 s, 1.3 s from 40 s on.
    """
    grown = spec.raise_downtime
    if grown is None:
        return spec.max_downtime_s
    step = min(grown.steps - 1, int(elapsed_s / grown.every_s))
    return spec.max_downtime_s + (grown.to_s - spec.max_downtime_s) * step / (grown.steps - 1)
