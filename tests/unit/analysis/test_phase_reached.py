"""How far a move had come, by the events that were seen; of containers see test_container_phases."""

from __future__ import annotations

from typing import Any

import pytest

from whimbrel.analysis.phases import STORAGE, phase_reached
from whimbrel.records.trial import Event

CALLED = ("whimbrel", None, "move called", None)
COPIED_LIVE = ("qemu", "a", "JOB_STATUS_CHANGE", "running")
MEMORY = ("qemu", "a", "MIGRATION", "active")
STOPPED = ("qemu", "a", "STOP", None)
ARRIVED = ("qemu", "b", "MIGRATION", "completed")
RESUMED = ("qemu", "b", "RESUME", None)
COPY_BEGUN = ("whimbrel", None, "disk copy begun", None)
COPIED = ("whimbrel", None, "disk copied", None)


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        ([], "reservation"),
        ([CALLED], "reservation"),
        ([CALLED, COPIED_LIVE], STORAGE),
        ([CALLED, COPIED_LIVE, MEMORY], "pre-copy"),
        ([CALLED, MEMORY, STOPPED], "stop-and-copy"),
        ([CALLED, MEMORY, STOPPED, ARRIVED], "commitment"),
        ([CALLED, MEMORY, STOPPED, ARRIVED, RESUMED], "activation"),
        # A guest that was powered off has stopped before its disk is copied.
        ([CALLED, STOPPED, COPY_BEGUN], STORAGE),
        ([CALLED, STOPPED, COPY_BEGUN, COPIED], "stop-and-copy"),
        ([CALLED, STOPPED, COPY_BEGUN, COPIED, RESUMED], "activation"),
    ],
)
def test_the_last_phase_that_had_begun_is_told(seen: list[tuple[Any, Any, str, str | None]], phase: str) -> None:
    events = [
        Event(source=source, host=host, name=name, realtime_ns=None, seen_ns=number, data={"status": status} if status else {})
        for number, (source, host, name, status) in enumerate(seen)
    ]
    assert phase_reached(events, "a", "b") == phase
