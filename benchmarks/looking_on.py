"""What looking on costs while a move is under way: the bus, who hands it on, and the process that serves pages and metrics.

Published as often as in a trial with ten viewers, for so long; without a lab or root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from whimbrel.events import STEP, Bus, Published, Sample
from whimbrel.live.address import Address
from whimbrel.live.beside import Beside, Wanted
from whimbrel.observe.sampler import read_cpu_s
from whimbrel.records.trial import Event
from whimbrel.system.deadline import pause
from whimbrel.system.process import run, start

FOR_S = 20.0
# Looks at the job, and readings of instruments, each second; a step each second as well.
JOB_PER_S, READINGS_PER_S = 20, 5
HOSTS = ("a", "b", "vantage", "qemu@a", "qemu@b", "machine")
VIEWERS = 10


@dataclass(frozen=True)
class Cost:
    """CPU time over time, of one core: what it takes in the process of the move, and in the one beside it."""

    pages: int
    here: float
    beside: float


def measure(pages: int) -> Cost:
    """Publishes as a move does while so many pages are open."""
    with Beside(Wanted(live=Address("127.0.0.1", 0, "--live")), "benchmark") as seen, Bus() as bus:
        bus.subscribe("live view", seen.observe)
        pid = seen.pid
        with open_pages(seen.urls["live page"], pages):
            began_s, here_s, beside_s = time.monotonic(), time.process_time(), cpu_s_of(pid)
            _publish(bus)
            took_s = time.monotonic() - began_s
            return Cost(pages, (time.process_time() - here_s) / took_s, (cpu_s_of(pid) - beside_s) / took_s)


def nobody() -> Cost:
    """The same with no observer at all: what the loop itself takes."""
    with Bus() as bus:
        began, before_s = time.monotonic(), time.process_time()
        _publish(bus)
        return Cost(0, (time.process_time() - before_s) / (time.monotonic() - began), 0.0)


def _publish(bus: Bus) -> None:
    """As a move does, for so long."""
    for number in range(round(FOR_S * JOB_PER_S)):
        now_ns = time.monotonic_ns()
        bus.publish(Sample("job", now_ns, _job(now_ns, number)))
        if number % (JOB_PER_S // READINGS_PER_S) == 0:
            for news in _readings(now_ns, number):
                bus.publish(news)
        if number % JOB_PER_S == 0:
            bus.publish(Event(source="whimbrel", host=None, name=STEP, realtime_ns=None, seen_ns=now_ns, data={"text": "moving"}))
        pause(1 / JOB_PER_S)


def _job(t_ns: int, number: int) -> dict[str, Any]:
    sent = number * 6_000_000
    return {"t_ns": t_ns, "iteration": 1, "transferred_bytes": sent, "remaining_bytes": max(0, 2**31 - sent),
            "total_bytes": 2**31, "dirty_pages_per_s": 300, "normal_pages": number, "constant_pages": 0, "disk_total_bytes": 0,
            "disk_transferred_bytes": 0, "disk_remaining_bytes": 0, "throttle_percent": None}  # fmt: skip


def _readings(t_ns: int, number: int) -> Iterator[Published]:
    for host in HOSTS:
        yield Sample("sampler", t_ns, {
            "t_ns": t_ns, "subject": host, "cpu_s": number / 40, "memory_bytes": 2**30, "cache_bytes": 0, "disk_read_bytes": 0,
            "disk_written_bytes": 0, "net_received_bytes": number, "net_sent_bytes": number, "run_delay_s": 0.0,
            "lateness_s": 0.0, "dropped": 0,
        })  # fmt: skip
    yield Sample("probe", t_ns, {"t_ns": t_ns, "sent": number, "answered": number, "last_answer_ns": t_ns, "dropped": 0})
    viewers = list(range(1, VIEWERS + 1))
    yield Sample("player", t_ns, {"t_ns": t_ns, "viewer": viewers, "packets": [number] * VIEWERS, "arrived_ns": [t_ns] * VIEWERS,
                                  "dropped": 0})  # fmt: skip


@contextmanager
def open_pages(url: str, pages: int) -> Iterator[None]:
    """So many pages that take all they are told, in processes of their own; they take part from the beginning."""
    with ExitStack() as holding:
        for _ in range(pages):
            page = start(["curl", "--silent", "--no-buffer", "--output", "/dev/null", f"{url}events"])
            holding.callback(page.stop, patience_s=1)
        # The first of them has to wait until there is a server.
        run(["curl", "--silent", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", "--output", "/dev/null", url])
        yield


def cpu_s_of(pid: int) -> float:
    """CPU time of a process so far."""
    cpu_s = read_cpu_s(pid)
    assert cpu_s is not None
    return cpu_s
