"""A guest's clock, read and set through an agent that answers as qemu-ga does, but slowly."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import pytest

from whimbrel.engines import guest_agent
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.system.deadline import pause

WAY_S = 0.002


class Guest:
    """Has a clock of its own. ``agent`` answers like ``engines.domain.Domain.agent``, some answers later than others."""

    name = "guest"

    def __init__(self, off_s: float, starts_in_s: float = 0.0, loses_s: Sequence[float] = ()) -> None:
        self.off_s = off_s
        self._loses_s = list(loses_s)
        self._starts_in_s = starts_in_s
        self.asked: list[str] = []
        self.first_answered_ns = 0

    def agent(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: int = 20) -> Any:
        self.asked.append(command)
        pause(WAY_S)
        if command == "guest-get-time":
            now = time.time_ns() + round(self.off_s * 1e9)
            pause(WAY_S)
            if self.first_answered_ns == 0:
                pause(0.2)
                self.first_answered_ns = time.monotonic_ns()
            return now
        if command == "guest-exec":
            assert arguments is not None
            pause(self._starts_in_s)
            self._run(arguments["path"], arguments["arg"])
            return {"pid": 7}
        assert command == "guest-exec-status"
        return {"exited": True, "exitcode": 0}

    def _run(self, path: str, arguments: list[str]) -> None:
        """date(1) of GNU coreutils, told by how much to set its clock on."""
        assert path == "/bin/date"
        assert arguments[0] == "--set"
        relative = re.fullmatch(r"([+-]\d+\.\d{9}) seconds", arguments[1])
        assert relative is not None, arguments
        self.off_s += float(relative[1])
        # It had looked at its clock, and then waited for a processor.
        self.off_s -= self._loses_s.pop(0) if self._loses_s else 0.0


def test_the_reading_with_the_shortest_way_counts_and_is_bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_agent, "READING_CLOCK_S", 60.0)
    guest = Guest(0.0)
    found = GuestAgent(guest).read_clock()  # type: ignore[arg-type]
    assert (found.reads, guest.asked) == (7, ["guest-get-time"] * 7)
    # Not the first, whose answer was late.
    assert found.asked_ns > guest.first_answered_ns
    ours_ns = time.time_ns() - time.monotonic_ns()
    assert found.asked_ns <= found.guest_ns - ours_ns <= found.answered_ns


def test_it_is_read_once_where_there_is_no_time_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_agent, "READING_CLOCK_S", 0.0)
    assert GuestAgent(Guest(0.0)).read_clock().reads == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("off_s", [-86_400.5, -0.311, 0.0, 12.25])
def test_it_is_set_by_as_much_as_it_is_off_however_long_the_order_takes(off_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_agent, "READING_CLOCK_S", 60.0)
    guest = Guest(off_s, starts_in_s=0.2)
    GuestAgent(guest).set_clock()  # type: ignore[arg-type]
    # Half of the way of the best reading at most, on a machine that has other work.
    assert abs(guest.off_s) < 0.3


@pytest.mark.parametrize(("loses_s", "orders"), [([], 1), ([0.6], 2), ([0.6, 0.6, 0.6], 3)])
def test_it_is_set_again_where_the_guest_was_late_to_do_it(
    loses_s: list[float], orders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_agent, "READING_CLOCK_S", 60.0)
    # How exact a reading is on a machine that has other work is not what is asked here.
    monkeypatch.setattr(guest_agent, "CLOCK_CLOSE_NS", 300_000_000)
    guest = Guest(-2.0, loses_s=loses_s)
    GuestAgent(guest).set_clock()  # type: ignore[arg-type]
    assert guest.asked.count("guest-exec") == orders
    assert abs(guest.off_s) < (0.3 if len(loses_s) < 3 else 0.9)
