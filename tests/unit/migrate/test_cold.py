"""A guest that boots elsewhere is waited for, unless it is not to come up there after all."""

from __future__ import annotations

from typing import Any

import pytest

from whimbrel.errors import GuestError, MoveError
from whimbrel.migrate import cold


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
    cold._wait_until_up(agent, lambda: said.pop(0) if said else None)
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


def test_both_reasons_are_said() -> None:
    assert cold._both("no room", None) == "no room"
    assert cold._both("no room", "no disk") == "no room; and it did not boot again on its source: no disk"
