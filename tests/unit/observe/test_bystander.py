"""Listening to libvirt on two hosts while somebody else moves a guest between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from whimbrel.engines.events import GuestEvent, libvirt_event, qemu_event
from whimbrel.engines.hypervisor import Progress
from whimbrel.errors import NoGuestError, SilentError, UsageError
from whimbrel.events import Bus, Published, Sample
from whimbrel.observe import bystander as module
from whimbrel.observe.bystander import Bystander, bystander
from whimbrel.system.deadline import Deadline, wait_until

URIS = {"a": "qemu+unix:///system?socket=/nowhere/a", "b": "qemu+unix:///system?socket=/nowhere/b"}


class Libvirt:
    """One host's libvirt: a guest that is there or not, and a job."""

    name = "shop"

    def __init__(self, executing: bool) -> None:
        self.executing = executing
        self.silent = False
        self.monitor_commands = 0
        self.kept: list[bool] = []
        self.sent = 0
        self.told: Callable[[GuestEvent], None] = lambda _: None

    def running(self) -> list[Libvirt]:
        if self.silent:
            raise SilentError("no answer")
        return [self] if self.executing else []

    def on_event(self, told: Callable[[GuestEvent], None]) -> None:
        self.told = told

    def progress(self) -> Progress | None:
        if not self.executing:
            raise NoGuestError("gone")
        self.sent += 1000
        return Progress(iteration=1, transferred_bytes=self.sent)

    def completed_job_stats(self, keep: bool = False) -> dict[str, int]:
        self.kept.append(keep)
        return {"downtime": 41, "memory_processed": 7_000_000}

    def monitor(self, *_: Any) -> dict[str, Any]:
        self.monitor_commands += 1
        return {}

    def host_statistics(self) -> dict[str, int]:
        if self.silent:
            raise SilentError("libvirt could not tell the host's statistics")
        return {"cpu_ns": time.monotonic_ns() // 4, "memory_bytes": 1 << 30, "cache_bytes": 1 << 20}

    def say(self, name: str, guest: str = "shop", **data: str | int) -> None:
        self.told(qemu_event(guest, name, time.time_ns(), time.monotonic_ns(), data))

    def move_to(self, other: Libvirt) -> None:
        self.executing, other.executing = False, True


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Libvirt]:
    found = {"a": Libvirt(True), "b": Libvirt(False)}

    @contextmanager
    def open_one(uri: str) -> Iterator[Libvirt]:
        yield found[uri[-1]]

    monkeypatch.setattr(module, "hypervisor_at", open_one)
    monkeypatch.setattr(module, "SAMPLE_S", 0.02)
    return found


def test_a_move_and_the_way_back(hosts: dict[str, Libvirt]) -> None:
    a, b = hosts["a"], hosts["b"]
    told: list[Published] = []
    with Bus() as bus, bystander(URIS, "shop", bus) as listening:
        bus.subscribe("test", told.extend)
        for source, destination, names in ((a, b, ("a", "b")), (b, a, ("b", "a"))):
            assert listening.begin() == names
            source.say("STOP")
            source.say("STOP", guest="other")
            time.sleep(0.15)
            source.move_to(destination)
            destination.say("RESUME")
            destination.told(libvirt_event("shop", 4, 1, time.monotonic_ns()))
            seen = listening.end()
            assert (seen.source, seen.destination) == names
            assert [(event.source, event.host, event.name) for event in seen.events] == [
                ("whimbrel", None, "move called"), ("qemu", names[0], "STOP"), ("qemu", names[1], "RESUME"),
                ("libvirt", names[1], "resumed"),
            ]  # fmt: skip
            assert seen.events[-1].data == {"detail": 1}
            assert seen.completed == {"downtime": 41, "memory_processed": 7_000_000}
            sent = seen.job.get_column("transferred_bytes").to_list()
            assert sent
            assert sent == sorted(sent)
            assert set(seen.hosts.get_column("subject")) == {"a", "b"}
            assert seen.notes == []
    # Whoever looks on has heard the same.
    heard = [(each.host, each.name) for each in told if not isinstance(each, Sample)]
    assert heard == [("a", "STOP"), ("b", "RESUME"), ("b", "resumed"), ("b", "STOP"), ("a", "RESUME"), ("a", "resumed")]
    last = [each for each in told if isinstance(each, Sample) and each.source == "job"][-1]
    assert last.values["transferred_bytes"] == sent[-1]
    assert {each.values["subject"] for each in told if isinstance(each, Sample) and each.source == "sampler"} == {"a", "b"}
    # Whoever moves the guest may ask for it too; and QEMU's monitor is nobody's business.
    assert a.kept == b.kept == [True]
    assert a.monitor_commands == b.monitor_commands == 0


def test_a_guest_that_stays_was_not_moved(hosts: dict[str, Libvirt]) -> None:
    with bystander(URIS, "shop", Bus()) as listening:
        listening.begin()
        seen = listening.end()
    assert (seen.source, seen.destination, seen.completed) == ("a", None, None)


def test_a_guest_that_is_nowhere_is_said_before_anything_is_done(hosts: dict[str, Libvirt]) -> None:
    with pytest.raises(UsageError, match="the guest other runs on none of a, b"):
        Bystander(URIS, "other", Bus()).open()
    hosts["a"].executing = False
    with pytest.raises(UsageError):
        Bystander(URIS, "shop", Bus()).open()


def test_a_host_that_falls_silent_is_said_and_ends_nothing(hosts: dict[str, Libvirt]) -> None:
    with bystander(URIS, "shop", Bus()) as listening:
        listening.begin()
        hosts["b"].silent = True
        wait_until(lambda: (any(host.lost for host in listening.hosts) or None, ""), "a host lost", Deadline(5))
        seen = listening.end()
    assert (seen.source, seen.destination) == ("a", None)
    assert seen.notes == ["libvirt of host b fell silent: libvirt could not tell the host's statistics"]
