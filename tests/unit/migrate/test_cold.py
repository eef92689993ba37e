"""A guest that is shut down comes up again: there, or where it was, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import GUEST, FakeDisk, FakeHost, FakeJournal
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import GuestError, SilentError, UnsafeStateError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import DiskFacts
from whimbrel.migrate import cold
from whimbrel.migrate.cold import Cold
from whimbrel.migrate.technique import MoveReport, MoveRequest
from whimbrel.spec.migration import MigrationSpec

Trouble = Callable[[], None]


def nothing() -> None:
    return None


@dataclass
class Guest:
    """The guest on a host, as its libvirt and its agent show it; it is off after so many looks once it was told."""

    host: FakeHost
    looks_until_off: int = 0
    told: bool = False
    on_order: Trouble = nothing

    def shutdown_by_agent(self) -> None:
        self.told = True
        self.on_order()

    @property
    def description(self) -> str:
        return "<domain><devices><disk><source file='/srv/own/guest.qcow2'/></disk></devices></domain>"

    @property
    def executing(self) -> bool:
        return GUEST.uuid in self.host.guests

    @property
    def active(self) -> bool:
        if self.told:
            self.looks_until_off -= 1
            if self.looks_until_off < 0:
                self.host.guests.pop(GUEST.uuid, None)
        return GUEST.uuid in self.host.guests

    def destroy(self) -> None:
        self.host.guests.pop(GUEST.uuid, None)


@dataclass
class Libvirt:
    """The libvirtd of a host; ``refuses`` says how often it does not answer."""

    host: FakeHost
    guest: Guest
    refuses: int = 0
    created: int = 0

    def dies_for(self, refusals: int) -> Trouble:
        """It is away for so many calls from when an agent is asked; the guest that it started runs on."""

        def die() -> None:
            self.refuses = refusals
            raise GuestError("the agent does not answer")

        return die

    @contextmanager
    def open(self) -> Iterator[Libvirt]:
        self.refuses -= 1
        if self.refuses >= 0:
            raise SilentError(f"libvirtd on host {self.host.name} does not answer")
        yield self

    def find(self, uuid: str) -> Guest | None:
        return self.guest if uuid in self.host.guests else None

    def create(self, description: str) -> Guest:
        self.created += 1
        self.host.guests[GUEST.uuid] = "runs"
        return Guest(self.host)


@dataclass
class Move:
    """A cold move from a to b, and what may come in between; ``booting`` comes each time that an agent is asked, by host."""

    hosts: dict[str, Libvirt]
    request: MoveRequest
    guest: Guest
    booting: dict[str, list[Trouble]] = field(default_factory=lambda: {"a": [], "b": []})
    served: list[str] = field(default_factory=list)
    journal: FakeJournal = field(default_factory=FakeJournal)

    def run(self) -> MoveReport:
        return Cold().move(self.request, self.journal)

    @property
    def runs_on(self) -> list[str]:
        return [name for name, libvirt in self.hosts.items() if GUEST.uuid in libvirt.host.guests]


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Move:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    both = [FakeHost(name) for name in "ab"]
    hosts = {host.name: Libvirt(host, Guest(host)) for host in both}
    here, there = hosts["a"].host, hosts["b"].host
    here.guests[GUEST.uuid] = "runs"
    by_uri = {host.host.libvirt_uri: host for host in hosts.values()}
    request = MoveRequest(
        GUEST, here, there, 2**20, 2**20, MigrationSpec(technique="cold"),
        after_boot=lambda agent: found.served.append(agent.host.name),  # type: ignore[attr-defined]
    )  # fmt: skip
    found = Move(hosts, request, hosts["a"].guest)

    class Agent:
        def __init__(self, guest: Guest) -> None:
            self.host = guest.host

        def run(self, command: list[str]) -> str:
            assert command == ["sync"]
            return ""

        def wait(self, timeout_s: float) -> None:
            troubles = found.booting[self.host.name]
            if troubles:
                troubles.pop(0)()

    monkeypatch.setattr(Connection, "open", lambda uri: by_uri[uri].open())
    monkeypatch.setattr(cold, "GuestAgent", Agent)
    for name in ("LOOK_EVERY_S", "PAUSE_S"):
        monkeypatch.setattr(cold, name, 0.0)
    return found


def interrupt() -> None:
    raise KeyboardInterrupt


def not_up() -> None:
    raise GuestError("the agent does not answer")


def test_it_goes_over(move: Move) -> None:
    move.booting["b"] = [not_up, not_up]
    assert move.run().result == "moved"
    assert (move.runs_on, move.served) == (["b"], ["b"])
    assert [name for _, name, _ in move.journal.marks] == [
        "move called", "reserved", "shutting down", "powered off", "boot there", "booted", "move returned",
    ]  # fmt: skip


@pytest.mark.parametrize(("trouble", "raised"), [(interrupt, KeyboardInterrupt), (not_up, None)])
def test_an_order_that_was_cut_short_may_have_been_taken(
    move: Move, trouble: Trouble, raised: type[BaseException] | None
) -> None:
    # It is still on when the call comes back, and goes off a little later.
    move.guest.on_order = trouble
    states = iter(["runs", "runs", "absent"])

    def state_of(_: GuestIdentity) -> str:
        state = next(states, "absent")
        if state == "absent" and not move.hosts["a"].created:
            move.hosts["a"].host.guests.clear()
        return state

    move.hosts["a"].host.state_of = state_of  # type: ignore[assignment, method-assign]
    if raised is None:
        assert move.run().result == "failed"
    else:
        with pytest.raises(raised):
            move.run()
    assert (move.runs_on, move.served) == (["a"], ["a"])


def test_one_that_does_not_power_off_is_not_said_to_stay(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "POWER_OFF_S", 0.0)
    move.guest.looks_until_off = 1000
    with pytest.raises(UnsafeStateError, match="it still may"):
        move.run()
    assert move.hosts["a"].created == 0


def test_what_was_begun_there_is_ended_before_it_boots_here(move: Move) -> None:
    move.booting["b"] = [move.hosts["b"].dies_for(3)]
    asked = iter([False, False, True])
    move.request = replace(move.request, told_to_abort=lambda: next(asked, True))
    assert move.run().result == "aborted"
    assert (move.runs_on, move.served) == (["a"], ["a"])


def test_nothing_boots_here_while_it_may_run_there(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "END_S", 0.0)
    monkeypatch.setattr(cold, "BOOT_S", 0.0)
    move.booting["b"] = [move.hosts["b"].dies_for(1000)]
    with pytest.raises(UnsafeStateError, match="may still run on host b"):
        move.run()
    assert move.hosts["a"].created == 0


def test_a_libvirtd_that_starts_again_does_not_stop_a_guest_from_booting_there(move: Move) -> None:
    move.booting["b"] = [move.hosts["b"].dies_for(2)]
    assert move.run().result == "moved"
    assert move.runs_on == ["b"]


def test_an_interrupted_way_back_is_gone_to_its_end(move: Move) -> None:
    move.request = replace(move.request, told_to_abort=lambda: True)
    move.booting["a"] = [not_up, interrupt, not_up]
    with pytest.raises(KeyboardInterrupt):
        move.run()
    assert (move.runs_on, move.served) == (["a"], ["a"])
    assert move.hosts["a"].created == 1


@pytest.mark.parametrize(("step", "where"), [("powered off", "a"), ("boot there", "a"), ("booted", "b")])
def test_a_full_disk_under_the_journal_does_not_cost_the_guest(
    move: Move, step: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = move.journal.mark

    def full(name: str, **data: Any) -> int:
        if name == step:
            raise OSError(28, "No space left on device")
        return mark(name, **data)

    monkeypatch.setattr(move.journal, "mark", full)
    with pytest.raises(OSError, match="No space left"):
        move.run()
    # What has booted there may have written there: it stays.
    assert move.runs_on == [where]
    assert set(move.served) == {where}


def test_ctrl_c_while_its_service_starts_there_leaves_it_there_with_its_service(move: Move) -> None:
    served = move.request.after_boot
    troubles = [interrupt]

    def after_boot(agent: Any) -> None:
        if troubles:
            troubles.pop()()
        served(agent)

    move.request = replace(move.request, after_boot=after_boot)
    with pytest.raises(KeyboardInterrupt):
        move.run()
    assert (move.runs_on, move.served) == (["b"], ["b"])


def test_ctrl_c_on_the_way_back_from_where_its_service_did_not_start_brings_it_back_all_the_same(move: Move) -> None:
    served = move.request.after_boot

    def after_boot(agent: Any) -> None:
        if agent.host.name == "b":
            raise GuestError("nginx does not start")
        served(agent)

    move.request = replace(move.request, after_boot=after_boot)
    move.booting["a"] = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        move.run()
    assert (move.runs_on, move.served) == (["a"], ["a"])


def test_a_guest_that_does_not_come_up_anywhere_is_said_to_be_off(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "BOOT_S", 0.0)
    move.booting = {"a": [not_up], "b": [not_up]}
    with pytest.raises(UnsafeStateError, match="did not boot again on its source"):
        move.run()
    assert move.runs_on == []


def test_a_guest_whose_service_does_not_start_again_is_not_destroyed(move: Move) -> None:
    def after_boot(agent: Any) -> None:
        raise GuestError("nginx does not start")

    move.request = replace(move.request, after_boot=after_boot)
    attempt = move.run()
    assert attempt.result == "failed"
    assert "its service did not start again on its source: nginx does not start" in str(attempt.error)
    assert move.runs_on == ["a"]


def test_a_source_whose_libvirtd_is_away_for_a_moment_gets_its_guest_back(move: Move) -> None:
    def away() -> bool:
        move.hosts["a"].refuses = 2
        return True

    move.request = replace(move.request, told_to_abort=away)
    assert move.run().result == "aborted"
    assert (move.runs_on, move.served) == (["a"], ["a"])


def test_it_is_asked_before_it_boots_there_whether_it_is_still_wanted(move: Move) -> None:
    answers = [False]
    move.request = replace(move.request, told_to_abort=answers.pop)
    assert move.run().result == "moved"
    assert answers == []


@pytest.mark.parametrize(
    ("asked", "timeout", "said"),
    [(True, "10 s", "aborted: it was asked for"), (False, "1 us", "aborted: its disk was not copied within 0 s")],
)
def test_what_we_end_ourselves_is_aborted(move: Move, asked: bool, timeout: str, said: str) -> None:
    disk = FakeDisk(DiskFacts(2**20, 2**10, None, None))
    spec = MigrationSpec.model_validate({"technique": "cold", "storage": "full", "timeout": timeout})
    move.request = replace(move.request, spec=spec, disks=(disk, FakeDisk(None)), told_to_abort=lambda: asked)
    report = move.run()
    assert (report.result, str(report.error)) == ("aborted", said)
    assert (move.runs_on, move.served) == (["a"], ["a"])


def test_a_destination_that_died_is_a_failure(move: Move) -> None:
    move.hosts["b"].host.dead = True
    report = move.run()
    assert (report.result, str(report.error)) == ("failed", "host b has died")
    assert (move.runs_on, move.served) == (["a"], ["a"])
