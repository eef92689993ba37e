"""Ends of guests, told apart from moves and from our own doing, on events that the real libvirt and QEMU gave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeAccess, FakeHost
from whimbrel.analysis.phases import phase_reached
from whimbrel.engines.events import libvirt_event, qemu_event
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import GuestEndedError, GuestError
from whimbrel.guests import ends
from whimbrel.guests.ends import EndWatch, noticed
from whimbrel.guests.last_words import End, LastWords, readable
from whimbrel.records.trial import Event
from whimbrel.system.deadline import pause, undisturbed

RECORDED = Path(__file__).parents[2] / "recorded" / "guest-ends-libvirt-11.3-qemu-10.0.json"
CASES: list[dict[str, Any]] = json.loads(RECORDED.read_text())
Recorded = list[Any]
# libvirt's numbers of its events (virDomainEventType).
LIFECYCLE = ("defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown", "pmsuspended", "crashed")


class Libvirt:
    """Both hosts' libvirt, whose events come when the test says so."""

    def __init__(self) -> None:
        self.told: dict[str, list[Callable[[Any], None]]] = {"a": [], "b": []}
        self._uri = ""

    @contextmanager
    def open(self, uri: str) -> Iterator[Libvirt]:
        self._uri = uri
        yield self

    def on_event(self, told: Callable[[Any], None]) -> None:
        self.told[self._uri[-1]].append(told)

    def running(self) -> list[Any]:
        return []

    def say(self, host: str, source: str, name: str, what: Any, guest: str = "guest", stamp_ns: int = 0) -> None:
        now_ns = time.monotonic_ns()
        if source == "qemu":
            self.told[host][0](qemu_event(guest, name, stamp_ns, now_ns, what))
        else:
            self.told[host][0](libvirt_event(guest, LIFECYCLE.index(name), what, now_ns))


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Libvirt:
    found = Libvirt()
    monkeypatch.setattr(Connection, "open", found.open)
    monkeypatch.setattr(ends, "LATE_S", 0.05)
    return found


HOSTS = [FakeHost("a"), FakeHost("b")]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_each_end_is_named_and_a_move_is_none(libvirt: Libvirt, case: dict[str, Any]) -> None:
    with EndWatch({"guest"}, HOSTS) as watch:
        for event in case["events"]:
            libvirt.say(*event)
    found = None if watch.end is None else [watch.end.host, watch.end.how]
    assert found == case["ended"]


def test_a_move_is_no_end_in_whatever_order_the_hosts_are_heard(libvirt: Libvirt) -> None:
    events: list[Recorded] = next(case["events"] for case in CASES if case["case"] == "nothing moving")
    here, there = ([event for event in events if event[0] == host] for host in "ab")
    for order in (here + there, there + here, [each for pair in zip(here, there, strict=False) for each in pair]):
        with EndWatch({"guest"}, HOSTS) as watch:
            for event in order:
                libvirt.say(*event)
        assert watch.end is None
        libvirt.told = {"a": [], "b": []}


def test_a_guest_that_runs_already_ends_where_it_is_said_to_run(libvirt: Libvirt) -> None:
    with EndWatch({"guest"}, HOSTS, {"guest": "b"}) as watch:
        libvirt.say("a", "libvirt", "stopped", 5)
        libvirt.say("b", "qemu", "SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}, guest="another")
        assert watch.end is None
        libvirt.say("b", "libvirt", "stopped", 5)
        libvirt.say("b", "libvirt", "stopped", 1)
    assert watch.end is not None
    assert (watch.end.host, watch.end.how) == ("b", "was lost with its QEMU, which died")


@pytest.mark.parametrize("case", [case for case in CASES if case["case"].endswith(" moving")], ids=lambda case: str(case["case"]))
def test_a_guest_that_ends_in_pre_copy_does_not_stop_to_be_handed_over(libvirt: Libvirt, case: dict[str, Any]) -> None:
    events: list[Recorded] = case["events"]
    # What came before is the guest's restoring, of which a move's listener hears nothing.
    begun = events.index(["a", "libvirt", "resumed", 2]) + 1
    with EndWatch({"guest"}, HOSTS) as watch:
        for stamp_ns, event in enumerate(events):
            host, source, name, what = event
            libvirt.say(host, source, name, what, stamp_ns=stamp_ns)
    # Nobody aborted these moves, so that what had panicked went on to host b.
    hosts = "ab" if case["ended"] is None else "a"
    heard = [
        Event(source="qemu", host=host, name=name, realtime_ns=stamp_ns, seen_ns=stamp_ns, data=what)
        for stamp_ns, (host, source, name, what) in enumerate(events)
        if source == "qemu" and stamp_ns >= begun and host in hosts
    ]
    assert phase_reached(watch.before(heard), "a", "b") == ("activation" if case["ended"] is None else "pre-copy")


def test_what_we_ask_for_is_no_end_and_what_comes_after_is(libvirt: Libvirt) -> None:
    with EndWatch({"guest"}, HOSTS, {"guest": "a"}) as watch:
        with watch.expected():
            libvirt.say("a", "qemu", "SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
            libvirt.say("a", "libvirt", "stopped", 0)
            libvirt.say("b", "libvirt", "started", 0)
        assert watch.told() is None
        libvirt.say("b", "qemu", "GUEST_PANICKED", {"action": "pause"})
    assert "panicked, on host b at 20" in str(watch.told())


@pytest.mark.parametrize("detail", [0, 2, 3])
def test_a_guest_that_stands_still_has_not_ended(libvirt: Libvirt, detail: int) -> None:
    """Paused by somebody, by a fault of its disk, or by its watchdog: its memory is all there."""
    with EndWatch({"guest"}, HOSTS, {"guest": "a"}) as watch:
        libvirt.say("a", "libvirt", "suspended", detail)
    assert watch.end is None


def test_an_end_cuts_every_wait_short_and_is_what_is_said(libvirt: Libvirt) -> None:
    began_s = time.monotonic()
    with pytest.raises(GuestEndedError, match="guest shut down, on host a"), noticed({"guest"}, HOSTS):  # noqa: PT012
        libvirt.say("a", "libvirt", "started", 0)
        libvirt.say("a", "qemu", "SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
        libvirt.say("a", "libvirt", "stopped", 0)
        with undisturbed():
            pause(0.01)
        pause(60)
    assert time.monotonic() - began_s < 10


def test_what_failed_first_is_the_evidence(libvirt: Libvirt) -> None:
    def fail() -> None:
        libvirt.say("a", "libvirt", "started", 0)
        libvirt.say("a", "libvirt", "stopped", 5)
        raise GuestError("the agent is not connected")

    with pytest.raises(GuestEndedError) as found, noticed({"guest"}, HOSTS):
        fail()
    assert found.value.brief.startswith("the guest guest was lost with its QEMU, which died, on host a at ")
    assert found.value.details == "the agent is not connected"


def test_without_an_end_what_failed_is_said(libvirt: Libvirt) -> None:
    with pytest.raises(GuestError, match=r"^it is tired$"), noticed({"guest"}, HOSTS):
        raise GuestError("it is tired")


def test_last_words_are_those_since_the_beginning(libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"a-guest-console.log": "of an earlier guest\n", "a-guest.log": "qemu-system-x86_64 -name guest\n"}
    monkeypatch.setattr(FakeAccess, "logs", lambda self: {key: said for key, said in text.items() if key[0] == self.host.name})
    words = LastWords(HOSTS)
    text["a-guest-console.log"] += "\x1b[!p\x1b]104\x07[   30.9] reboot: Power down\r\n\n"
    text["a-guest.log"] += "shutting down, reason=shutdown\n"
    found = words.of(End("guest", "a", "shut down", 1_764_406_141_123_456_789, 7), "at rest")
    assert found.console == ["[   30.9] reboot: Power down"]
    assert found.qemu_log == ["shutting down, reason=shutdown"]
    assert found.left == "its QEMU has gone, and its memory with it"
    assert (found.during, found.seen_ns, found.how, found.host) == ("at rest", 7, "shut down", "a")
    assert words.of(End("guest", "b", "shut down", 1, 1), "").console == []


def test_a_line_holds_no_orders_for_a_terminal() -> None:
    assert readable("\x1b[31mred\x1b[0m\x08\x07 and \x9b tab\tkept  ") == "red and  tab\tkept"
