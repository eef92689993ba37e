"""Looking, deciding, taking a step, looking again; on sides whose answers are known."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from tests.fakes import GUEST, FakeDomain, FakeHost
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, GuestError, UnsafeStateError
from whimbrel.migrate import recover as recovering
from whimbrel.migrate import verify
from whimbrel.migrate.recover import recover
from whimbrel.migrate.recovery import Intention, Situation, Step
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.migration import MigrationSpec


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)


@dataclass
class Script:
    """Sides that say one thing after another; a step makes them say what follows it."""

    says: list[Situation]
    after: dict[Step, list[Situation]] = field(default_factory=dict)
    refuses: int = 0
    how: type[EngineError] | type[GuestError] = EngineError
    taken: list[Step] = field(default_factory=list)
    cleared: bool = False

    def look(self) -> Situation:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    def take(self, step: Step) -> None:
        self.taken.append(step)
        if self.refuses:
            self.refuses -= 1
            raise self.how("not yet")
        self.says = self.after.get(step, self.says)

    def clear(self) -> None:
        self.cleared = True


def run(script: Script, at_a: bool = True, intention: Intention | None = None) -> tuple[str, list[str]]:
    hosts = FakeHost("a"), FakeHost("b")
    hosts[0 if at_a else 1].guests[GUEST.uuid] = "runs"
    request = MoveRequest(GUEST, *hosts, 2**20, 2**20, MigrationSpec())
    told: list[str] = []
    where = recover(
        script, request, intention or Intention(), lambda decision: told.append(decision.step),
        lambda: told.append("about to boot"), look_every_s=0.0, sure_after_s=0.05,
    )  # fmt: skip
    return where, told


AT_A = Situation("runs", "absent")
AT_B = Situation("absent", "runs")


def test_nothing_is_done_where_one_copy_runs() -> None:
    script = Script([AT_A])
    assert run(script) == ("a", ["done"])
    assert script.taken == []
    assert script.cleared


def test_a_move_that_ends_while_we_look_is_not_taken_for_a_broken_one() -> None:
    # One look that fell into the end of the move: the step it asks for is not taken.
    between = Situation("runs", "stands still")
    script = Script([Situation("runs", "stands still", under_way=True)] * 3 + [between, AT_B])
    assert run(script, at_a=False) == ("b", ["wait", "end destination", "done"])
    assert script.taken == ["wait", "wait"]


def test_a_step_that_two_looks_ask_for_is_taken() -> None:
    script = Script([Situation("stands still", "absent")], after={"source goes on": [AT_A]})
    assert run(script) == ("a", ["source goes on", "done"])
    assert script.taken == ["source goes on"]


def test_a_step_that_is_refused_is_tried_again() -> None:
    split = Situation("stands still", "stands still", split=True)
    script = Script([split], after={"resume post-copy": [Situation("stands still", "runs", under_way=True), AT_B]}, refuses=2)
    assert run(script, at_a=False) == ("b", ["resume post-copy", "wait", "done"])
    assert script.taken == ["resume post-copy"] * 3


def test_a_step_that_fails_in_a_carrier_is_tried_again() -> None:
    script = Script([Situation("stands still", "absent")], after={"source goes on": [AT_A]}, refuses=1, how=GuestError)
    assert run(script) == ("a", ["source goes on", "done"])
    assert script.taken == ["source goes on"] * 2


def test_what_was_booted_and_does_not_answer_is_not_called_recovered() -> None:
    script = Script([Situation("absent", "absent")], after={"boot": [AT_A]}, refuses=1, how=GuestError)
    with pytest.raises(UnsafeStateError, match="was started anew, but does not answer"):
        run(script, intention=Intention(boot_anew=True))


def test_it_is_told_before_anything_is_booted() -> None:
    script = Script([Situation("absent", "absent")], after={"boot": [AT_A]})
    assert run(script, intention=Intention(boot_anew=True)) == ("a", ["boot", "about to boot", "done"])
    script = Script([Situation("absent", "absent")], after={"boot": [AT_A]})
    assert run(script, intention=Intention(between=True)) == ("a", ["boot", "done"])


def test_a_host_that_is_silent_for_a_moment_is_asked_again() -> None:
    script = Script([Situation("silent", "absent")] * 2 + [AT_A])
    assert run(script) == ("a", ["cannot", "done"])


def test_what_cannot_be_is_said_with_the_reason() -> None:
    with pytest.raises(UnsafeStateError, match="cannot be brought to one running copy") as caught:
        run(Script([Situation("runs", "runs")]))
    assert "a copy runs on either of two hosts: look which is newest before stopping any" in str(caught.value)
    assert caught.value.exit_code == 4


def test_the_only_copy_of_one_host_under_two_names_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has paused the guest: it stands still on both, and to end one would end it."""
    a, b = FakeHost("a"), FakeHost("b")
    b.machine = a.machine
    a.guests[GUEST.uuid] = b.guests[GUEST.uuid] = "stands still"

    class Paused(FakeDomain):
        def destroy(self) -> None:
            super().destroy()
            a.guests.clear()
            b.guests.clear()

    domain = Paused()
    connection = SimpleNamespace(find=lambda uuid: domain)
    monkeypatch.setattr(Connection, "open", lambda uri: contextlib.nullcontext(connection))
    request = MoveRequest(GUEST, a, b, 2**30, 2**30, MigrationSpec())
    sides = recovering.VmSides(request, "", switched=False, shutting_down=False)
    with pytest.raises(UnsafeStateError) as caught:
        recovering.recover(sides, request, Intention(), lambda _: None, look_every_s=0.01, sure_after_s=0.05)
    assert domain.there
    assert "hosts a and b are one host, server-a" in caught.value.details
    assert "none is touched" in caught.value.details
