"""When a live move has gone on long enough. Pure.

QEMU goes on for ever with a guest that dirties memory faster than it can be sent: it has no limit on rounds or time.
"""

from __future__ import annotations

from typing import Literal

from whimbrel.spec.migration import MigrationSpec

Action = Literal["go on", "stop and copy", "abort"]


def decide(spec: MigrationSpec, rounds: int, elapsed_s: float) -> Action:
    """What to do after ``rounds`` passes have begun and ``elapsed_s`` have passed since the call.

    With ``max_rounds`` 3 and ``timeout`` 60 s: in round 3 at 20 s go on; when round 4 begins, stop and copy; at 60 s
    do what ``on_timeout`` says, whatever the round.
    """
    if elapsed_s >= spec.timeout_s:
        return "abort" if spec.on_timeout == "abort" else "stop and copy"
    return "stop and copy" if rounds > spec.max_rounds else "go on"
