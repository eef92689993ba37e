"""How often the job is looked at: each look is work on the source, and its CPU time is a figure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.engines.events import GuestEvent, qemu_event
from whimbrel.engines.hypervisor import MoveFigures, Progress
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import NoGuestError
from whimbrel.observe import migration_events
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.system.deadline import Deadline, wait_until

LEFT_BYTES = 400 * 2**20
RATE_BYTES_PER_S = 20 * 2**20


class Source:
    """libvirt's connection to the source, and the guest on it; all that is asked of either costs it CPU time, so it is counted.

    It sends at a steady rate, and ``left_bytes`` are left. QEMU gives its downtime from the moment it is done until it ends.
    """

    def __init__(self, left_bytes: int = LEFT_BYTES) -> None:
        self.told: list[Callable[[GuestEvent], None]] = []
        self.asked = 0
        self.done = self.gone = False
        self.left_bytes = left_bytes
        self._began_s = time.monotonic()

    @contextmanager
    def open(self, _uri: str) -> Iterator[Source]:
        yield self

    def find(self, number: str) -> Source:
        assert number == GUEST.uuid
        return self

    def on_event(self, told: Callable[[GuestEvent], None]) -> None:
        self.told.append(told)

    def say(self, name: str, host: int = 0, **data: str) -> None:
        self.told[host](qemu_event(GUEST.name, name, time.time_ns(), time.monotonic_ns(), data))

    def _answer(self) -> None:
        if self.gone:
            raise NoGuestError("libvirt could not say: there is no such domain")
        self.asked += 1

    def progress(self) -> Progress:
        self._answer()
        sent = round((time.monotonic() - self._began_s) * RATE_BYTES_PER_S)
        return Progress(1, sent + 1, max(0, self.left_bytes - sent))

    def move_figures(self) -> MoveFigures | None:
        self._answer()
        return MoveFigures(123, None) if self.done else None

    def settings(self) -> tuple[dict[str, Any], list[str]]:
        self._answer()
        self._answer()
        return {}, []


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    found = Source()
    monkeypatch.setattr(Connection, "open", found.open)
    return found


def watching() -> MigrationEvents:
    return MigrationEvents((GUEST, GUEST), FakeHost("a"), FakeHost("b"))


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever only waits for the next look comes too late."""
    monkeypatch.setattr(migration_events, "LOOK_AFTER_STOP_EVERY_S", 60.0)


def asked_within(source: Source, seconds: float) -> int:
    before = source.asked
    time.sleep(seconds)
    return source.asked - before


def test_a_guest_that_stands_still_is_looked_at_less_often_than_one_that_runs(source: Source) -> None:
    with watching():
        time.sleep(0.2)
        running = asked_within(source, 1.0)
        source.say("STOP")
        time.sleep(0.1)
        still = asked_within(source, 1.0)
    # Four looks instead of twenty, of one call each; it were two hundred, of two.
    assert 1 <= still < running / 2


def test_a_guest_that_goes_on_where_it_was_is_looked_at_as_before(source: Source) -> None:
    with watching():
        source.say("STOP")
        time.sleep(0.5)
        still = asked_within(source, 0.6)
        source.say("RESUME")
        time.sleep(0.3)
        running = asked_within(source, 0.6)
    assert still < running / 2


@pytest.mark.parametrize("host", [0, 1])
def test_the_downtime_is_read_between_qemus_last_word_and_its_end(source: Source, seldom: None, host: int) -> None:
    with watching() as events:
        source.say("STOP")
        time.sleep(0.1)
        assert events.qemu_downtime_ms is None
        source.done = True
        # Of the destination, in case the source's own word comes late.
        source.say("MIGRATION", host, status="completed")
        wait_until(lambda: (events.qemu_downtime_ms is not None or None, "not read"), "the downtime", Deadline(10))
        source.gone = True
    assert events.qemu_downtime_ms == 123


def test_it_is_looked_for_near_the_end_though_no_word_comes(source: Source, seldom: None) -> None:
    source.left_bytes = RATE_BYTES_PER_S
    with watching() as events:
        time.sleep(0.3)
        source.say("STOP")
        time.sleep(0.9)
        source.done = True
        wait_until(lambda: (events.qemu_downtime_ms is not None or None, "not read"), "the downtime", Deadline(10))
    assert events.qemu_downtime_ms == 123


def test_an_end_that_is_not_waited_for_ends_at_once(source: Source) -> None:
    with watching():
        source.say("STOP")
        time.sleep(0.1)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "migration-job"]
