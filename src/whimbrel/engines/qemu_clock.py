"""A host's wall clock by QEMU's stamps, while a guest is there that notices nothing.

QEMU is given a job that does nothing: it is to create a file in a folder that cannot exist. QEMU stamps the job's beginning with
the host's clock, and that happened between our call and its return.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Container
from functools import partial

from whimbrel.engines.domain import Domain
from whimbrel.engines.events import GuestEvent

_PATIENCE_S = 5.0
# No folder can be made in there, by nobody (proc(5)).
_NOTHING = {"driver": "file", "filename": "/proc/no-such-folder/clock", "size": 0}


def clock_stamps(
    domain: Domain, listen: Callable[[Callable[[GuestEvent], None]], None], tries: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """When we called and had the answer, by our wall clock, and QEMU's stamps in between; fewer of these when it did not say."""
    jobs = [f"whimbrel-clock-{uuid.uuid4().hex[:8]}" for _ in range(tries)]
    began: dict[str, int] = {}
    ended: set[str] = set()
    heard = threading.Condition()

    def on_event(event: GuestEvent) -> None:
        if event.name == "JOB_STATUS_CHANGE" and event.data.get("id") in jobs:
            with heard:
                if event.data["status"] == "created" and event.realtime_ns is not None:
                    began[event.data["id"]] = event.realtime_ns
                elif event.data["status"] == "concluded":
                    ended.add(event.data["id"])
                heard.notify_all()

    listen(on_event)
    calls = []
    for job in jobs:
        before_ns = time.time_ns()
        domain.monitor("blockdev-create", {"job-id": job, "options": _NOTHING})
        calls.append((before_ns, time.time_ns()))
        with heard:
            heard.wait_for(partial(_has_ended, job, began, ended), _PATIENCE_S)
        # QEMU keeps a job that has ended until somebody has seen it.
        domain.monitor("job-dismiss", {"id": job})
    return calls, [began[job] for job in jobs if job in began]


def _has_ended(job: str, began: Container[str], ended: Container[str]) -> bool:
    return job in began and job in ended
