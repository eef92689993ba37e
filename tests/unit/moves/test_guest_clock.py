"""A guest's own clock is read before and after a move, and set only where that was asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.moves.guest_clock import clock_after, clock_before
from whimbrel.spec.migration import MigrationSpec

SETS = MigrationSpec.model_validate({"after": "set-clock"})


class Clocked(GuestAgent):
    """A guest whose clock is behind ours, until it is set."""

    def __init__(self, behind_s: float) -> None:
        self.behind_s = behind_s

    def time_ns(self) -> int:
        return time.time_ns() - round(self.behind_s * 1e9)

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        assert command[:2] == ["/bin/date", "--set"]
        self.behind_s -= float(command[2].removesuffix(" seconds"))
        return ""


def behind_s(read: Any) -> float:
    """How far behind ours a reading is."""
    ours_ns = time.time_ns() - time.monotonic_ns() + (read.asked_ns + read.answered_ns) // 2
    return float(ours_ns - read.guest_ns) / 1e9


def test_all_three_readings_are_kept_where_it_is_set() -> None:
    guest = Clocked(2.5)
    before = clock_before(guest)
    assert before is not None
    assert behind_s(before.before) == pytest.approx(2.5, abs=0.05)
    guest.behind_s = 4.0
    found = clock_after(guest, before, SETS)
    assert found is not None
    assert found.before == before.before
    assert found.after is not None
    assert found.after_setting is not None
    assert behind_s(found.after) == pytest.approx(4.0, abs=0.05)
    assert behind_s(found.after_setting) == pytest.approx(0.0, abs=0.05)


def test_it_is_left_alone_where_nobody_asked() -> None:
    guest = Clocked(2.5)
    found = clock_after(guest, clock_before(guest), MigrationSpec())
    assert found is not None
    assert (found.after is not None, found.after_setting) == (True, None)
    assert guest.behind_s == 2.5


def test_a_cell_has_no_clock_of_its_own() -> None:
    cell: Any = object()
    assert clock_before(cell) is None
    assert clock_after(cell, None, SETS) is None


def test_one_that_could_not_be_read_before_is_not_read_after() -> None:
    guest = Clocked(2.5)
    assert clock_after(guest, None, SETS) is None
    assert guest.behind_s == 2.5
