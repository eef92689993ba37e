from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.engines.libvirt import MonitorEvent
from whimbrel.errors import InstrumentError
from whimbrel.observe import host_clock
from whimbrel.observe.host_clock import clock_of, offset_from

AHEAD_NS = 3_600_000_000_000


class Qemu:
    """One whose host's clock is an hour ahead. Nothing but what is asked of it here can be asked of it."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.told: Callable[[MonitorEvent], None] = lambda _: None

    @contextmanager
    def open(self, uri: str) -> Iterator[Qemu]:
        yield self

    def find(self, number: str) -> Qemu:
        assert number == GUEST.uuid
        return self

    def on_monitor_event(self, told: Callable[[MonitorEvent], None]) -> None:
        self.told = told

    def monitor(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "job-dismiss":
            self.jobs.remove(arguments["id"])
            return {}
        assert command == "blockdev-create"
        self.jobs.add(arguments["job-id"])
        for status in ("created", "running", "aborting", "concluded"):
            data = {"id": arguments["job-id"], "status": status}
            self.told(MonitorEvent("guest", "JOB_STATUS_CHANGE", time.time_ns() + AHEAD_NS, 0, data))
        return {}


def test_the_clock_is_read_from_jobs_that_do_nothing_and_are_seen_off(monkeypatch: pytest.MonkeyPatch) -> None:
    qemu, host = Qemu(), FakeHost("b")
    monkeypatch.setattr(host_clock, "Connection", qemu)
    monkeypatch.setattr(FakeHost, "shares_our_clock", False)
    found = clock_of(host, GUEST)
    assert abs(found.offset_ns - AHEAD_NS) <= found.offset_error_ns < 1_000_000_000
    assert qemu.jobs == set()


def test_the_offset_is_what_all_readings_agree_on() -> None:
    found = offset_from("host b", [(40, 60), (150, 190)], [150, 260])
    assert (found.offset_ns, found.offset_error_ns) == (100, 10)


@pytest.mark.parametrize(("calls", "stamps"), [([(0, 10)], []), ([], []), ([(0, 10), (100, 110)], [5, 1105])])
def test_readings_that_do_not_agree_are_refused(calls: list[tuple[int, int]], stamps: list[int]) -> None:
    with pytest.raises(InstrumentError, match="clock of host b"):
        offset_from("host b", calls, stamps)
