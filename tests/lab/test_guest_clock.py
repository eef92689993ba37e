"""The guest's clock after a real move: how much it lags, by another way than its agent's command; and that it is set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deployments import Deployed, deployed
from tests.labs import quick
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.hosts.host import Host
from whimbrel.lab.lab import Lab
from whimbrel.moves.guest_clock import clock_before

__all__ = ["deployed"]

# A guest that waits for a processor is late, and says so.
pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    "options", [("technique=pre-copy",), ("technique=paused", "bandwidth=400 Mbit/s")], ids=["pre-copy", "paused"]
)
def test_a_clock_lags_by_the_blackout_and_is_set_where_that_is_asked(
    lab: Lab, states: StateStore, options: Sequence[str], tmp_path: Path
) -> None:
    spec = quick(*(f"migration.{option}" for option in options), "migration.after=set-clock")
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "moved")
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    figures = figures_of(stored)
    print(options, {name: value for name, value in figures.model_dump().items() if "clock" in name}, figures.blackout_ms)
    lag_ms, error_ms, blackout_ms = figures.guest_clock_lag_ms, figures.guest_clock_lag_error_ms, figures.blackout_ms
    assert lag_ms is not None
    assert error_ms is not None
    assert blackout_ms is not None
    # The guest's clock stands still from about STOP to RESUME; a busy machine delays the guest, and by more when it is emulated.
    assert lag_ms == pytest.approx(blackout_ms, abs=max(60.0, 0.1 * blackout_ms) + error_ms)
    assert figures.guest_clock_before_ms == pytest.approx(0, abs=50)
    assert figures.guest_clock_before_ms is not None
    assert figures.guest_clock_after_ms == pytest.approx(figures.guest_clock_before_ms - lag_ms, abs=error_ms + 1)
    assert figures.guest_clock_set_ms == pytest.approx(0, abs=20)


def test_a_clock_that_nobody_sets_stays_behind(deployed: Deployed) -> None:
    moved = deployed.move("b", "paused")
    assert moved.error is None
    figures = figures_of(moved.stored)
    assert figures.guest_clock_set_ms is None
    assert figures.guest_clock_lag_ms is not None
    still_ms = _off_ms(deployed.lab.hosts["b"], deployed.lab)
    assert still_ms == pytest.approx(figures.guest_clock_after_ms, abs=30)
    back = deployed.move("a", "pre-copy", "after=set-clock")
    assert back.error is None
    set_back = figures_of(back.stored)
    # What it was before it was set is kept: this move found it late already.
    assert set_back.guest_clock_before_ms == pytest.approx(still_ms, abs=30)
    assert set_back.guest_clock_set_ms == pytest.approx(0, abs=20)
    assert _off_ms(deployed.lab.hosts["a"], deployed.lab) == pytest.approx(0, abs=30)


def _off_ms(host: Host, lab: Lab) -> float:
    """What date(1) in the guest says less what it says here: a program's start is in between."""
    with Connection.open(host.libvirt_uri) as connection:
        domain = connection.find(lab.guest.uuid)
        assert domain is not None
        agent = GuestAgent(domain)
        found = []
        for _ in range(5):
            asked_ns = time.time_ns()
            there_ns = int(agent.run(["/bin/date", "+%s%N"]))
            found.append((time.time_ns() - asked_ns, there_ns - asked_ns))
    # It was read between the question and the answer: the least of both bounds the truth.
    took_ns, late_ns = min(found)
    return (late_ns - took_ns / 2) / 1e6


def test_reading_it_takes_little_time(lab: Lab, states: StateStore) -> None:
    state = states.get("vm", "stream", 1)
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        agent, _ = the_guest.restore(lab, connection, lab.guest, state.folder)
        try:
            began_s = time.monotonic()
            clock = clock_before(agent)
            took_s = time.monotonic() - began_s
            once_s = time.monotonic()
            agent.time_ns()
            once_s = time.monotonic() - once_s
        finally:
            the_guest.take_power_away(lab.hosts["a"], lab.guest)
    assert clock is not None
    print(clock, took_s)
    # The budget, and what a reading takes that was begun within it.
    assert took_s < 0.03 + 20 * once_s
