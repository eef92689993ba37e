"""Wall-clock stamps brought onto the monotonic clock: where this machine's clocks really are, and what a step does."""

from __future__ import annotations

import time

import pytest

from tests.calibration.table import say
from whimbrel.analysis.clocks import Conversion
from whimbrel.system.clock import ClockPair, read_pair
from whimbrel.system.deadline import pause

pytestmark = pytest.mark.alone


def conversion(before: ClockPair, after: ClockPair) -> Conversion:
    return Conversion(before.realtime_ns, before.offset_ns, after.realtime_ns, after.offset_ns,
                      max(before.error_ns, after.error_ns))  # fmt: skip


def test_events_are_where_they_were() -> None:
    before = read_pair()
    truth = []
    for _ in range(200):
        early_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        late_ns = time.monotonic_ns()
        truth.append((early_ns, wall_ns, late_ns))
        pause(0.005)
    found = conversion(before, read_pair())
    errors_us = []
    for early_ns, wall_ns, late_ns in truth:
        at_ns = found.to_monotonic_ns(wall_ns)
        assert early_ns - found.error_ns <= at_ns <= late_ns + found.error_ns
        errors_us.append(abs(at_ns - (early_ns + late_ns) / 2) / 1000)
    say("events between clocks, worst of 200", 0, max(errors_us), "us")


def test_a_step_of_the_wall_clock_is_in_the_error() -> None:
    # Both clocks as they are, then the wall clock a second ahead: nobody knows when it was set.
    first, last = read_pair(), read_pair()
    stepped = ClockPair(last.realtime_ns + 1_000_000_000, last.monotonic_ns, last.error_ns)
    assert conversion(first, stepped).error_ns >= 1_000_000_000
