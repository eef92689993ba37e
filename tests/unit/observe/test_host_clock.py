from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.engines.events import GuestEvent, qemu_event
from whimbrel.engines.libvirt import Connection
from whimbrel.engines.qemu_clock import clock_stamps
from whimbrel.errors import InstrumentError
from whimbrel.observe.host_clock import clock_of, offset_from

AHEAD_NS = 3_600_000_000_000


class Qemu:
    """One whose host's clock is an hour ahead. Nothing but what is asked of it here can be asked of it."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.told: Callable[[GuestEvent], None] = lambda _: None

    @contextmanager
    def open(self, uri: str) -> Iterator[Qemu]:
        yield self

    def find(self, number: str) -> Qemu:
        assert number == GUEST.uuid
        return self

    def clock_stamps(self, guest: Any, tries: int) -> tuple[list[tuple[int, int]], list[int]]:
        return clock_stamps(guest, self.on_event, tries)

    def on_event(self, told: Callable[[GuestEvent], None]) -> None:
        self.told = told

    def monitor(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "job-dismiss":
            self.jobs.remove(arguments["id"])
            return {}
        assert command == "blockdev-create"
        self.jobs.add(arguments["job-id"])
        for status in ("created", "running", "aborting", "concluded"):
            data = {"id": arguments["job-id"], "status": status}
            self.told(qemu_event("guest", "JOB_STATUS_CHANGE", time.time_ns() + AHEAD_NS, 0, data))
        return {}


def test_the_clock_is_read_from_jobs_that_do_nothing_and_are_seen_off(monkeypatch: pytest.MonkeyPatch) -> None:
    qemu, host = Qemu(), FakeHost("b")
    monkeypatch.setattr(Connection, "open", qemu.open)
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
