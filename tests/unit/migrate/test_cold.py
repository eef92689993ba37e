"""A guest that boots elsewhere is waited for, unless it is not to come up there after all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.fakes import FakeHost
from whimbrel.errors import GuestError, MoveError
from whimbrel.migrate import cold
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.deadline import Deadline


class Booting:
    """An agent that answers after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def wait(self, timeout_s: float) -> None:
        self.looks -= 1
        if self.looks >= 0:
            raise GuestError("the agent does not answer")


def wait(looks: int, *reasons: str | None) -> list[str | None]:
    """Waits for a guest that is up after so many looks; what is left of what would have been said against it."""
    said = list(reasons)
    agent: Any = Booting(looks)

    def stop_if_unwanted() -> None:
        reason = said.pop(0) if said else None
        if reason is not None:
            raise MoveError(reason)

    cold._wait_until_up(agent, stop_if_unwanted)
    return said


def test_a_guest_that_comes_up_is_waited_for() -> None:
    # After each look that found it down it is asked whether it is to go back, and no more once it is up.
    assert wait(3, None, None, None, "too late") == ["too late"]


def test_a_guest_that_is_to_go_back_is_not_waited_for() -> None:
    with pytest.raises(MoveError, match=r"^host b has died$"):
        wait(3, None, "host b has died")


def test_a_guest_that_never_comes_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "_BOOT_S", 0.0)
    with pytest.raises(GuestError):
        wait(1)


@pytest.fixture
def request_to_b() -> MoveRequest:
    return MoveRequest("guest", FakeHost("a"), FakeHost("b"), 2**20, 2**20, MigrationSpec(technique="cold"))


def test_what_is_wanted_goes_on(request_to_b: MoveRequest) -> None:
    cold._stop_if_unwanted(request_to_b, Deadline(60))


@pytest.mark.parametrize("what", ["asked", "too late"])
def test_what_we_end_ourselves_is_aborted(request_to_b: MoveRequest, what: str) -> None:
    request = replace(request_to_b, told_to_abort=lambda: what == "asked")
    with pytest.raises(cold._AbortedError, match="it was asked for" if what == "asked" else "not copied within 0 s"):
        cold._stop_if_unwanted(request, Deadline(0))


def test_a_destination_that_died_is_a_failure(request_to_b: MoveRequest) -> None:
    there = FakeHost("b")
    there.dead = True
    with pytest.raises(MoveError, match=r"^host b has died$") as caught:
        cold._stop_if_unwanted(replace(request_to_b, destination=there))
    assert not isinstance(caught.value, cold._AbortedError)


def test_both_reasons_are_said() -> None:
    assert cold._both("no room", None) == "no room"
    assert cold._both("no room", "no disk") == "no room; and it did not boot again on its source: no disk"
