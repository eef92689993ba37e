"""A guest that stands still for a known time, as seen by the probe, by a viewer, and in QEMU's events."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.calibration.table import say
from tests.calibration.test_clocks import conversion
from tests.saboteur import processes
from whimbrel.analysis.gaps import longest_silence
from whimbrel.analysis.phases import Moment, find
from whimbrel.engines.domain import Domain
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as the_guest
from whimbrel.guests.forms import wait_for_service
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.services.nginx import STREAM
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument

pytestmark = pytest.mark.alone

PAUSES_MS = (30, 300, 3000)
# The probe asks every 5 ms; a guest that is emulated needs a moment to be itself again.
MOST_ERROR_MS = 60
# Before it streams again it needs a longer one, which is the guest's affair and the machine's, not the instrument's: of so many
# pauses the least counts. The probe is answered by the guest's kernel, and each of its figures is held to the limit.
TIMES = 4

Interval = tuple[int, int]


@pytest.fixture(scope="module")
def guest(lab: Lab, states: StateStore) -> Iterator[Domain]:
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        agent, _ = the_guest.restore(lab, connection, lab.guest, states.get("vm", "stream", 1).folder)
        wait_for_service(agent, STREAM)
        domain = connection.find(lab.guest.uuid)
        assert domain is not None
        try:
            yield domain
        finally:
            domain.destroy()


@pytest.fixture
def watched(lab: Lab, guest: Domain, tmp_path: Path) -> Callable[[Callable[[], None]], dict[str, pl.DataFrame]]:
    """Runs something while a probe and a viewer look at the guest; gives what they saw."""

    def run(harm: Callable[[], None]) -> dict[str, pl.DataFrame]:
        probe = {"address": lab.guest.address, "every_s": 0.005}
        player = {"url": f"rtmp://{lab.guest.address}/film/film.flv", "viewers": 1, "read_ahead_s": 0.1, "length_s": 240.0}
        with (
            Instrument("probe", "whimbrel.observe.probe", probe, output=tmp_path / "probe.parquet",
                       log_file=tmp_path / "log", wrap=lab.network.vantage.command),
            Instrument("player", "whimbrel.stream.player", player, output=tmp_path / "packets.parquet",
                       log_file=tmp_path / "log", wrap=lab.network.vantage.command) as playing,
        ):  # fmt: skip
            playing.wait_for(lambda said: any(line["say"] == "playing" for line in said), "to play", 30)
            pause(3)
            harm()
        return {name: pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("probe", "packets")}

    return run


def seen_ms(frame: pl.DataFrame, column: str, interval: Interval) -> float:
    silence = longest_silence(frame.get_column(column).drop_nulls().to_numpy(), *interval)
    assert silence is not None
    return silence.length_ms


def errors_ms(figure: str, frame: pl.DataFrame, column: str, stood: list[Interval]) -> list[float]:
    """How much longer than each pause the figure is."""
    found = []
    for from_ns, to_ns in stood:
        truth_ms = (to_ns - from_ns) / 1e6
        measured_ms = seen_ms(frame, column, (from_ns, to_ns))
        say(f"{figure} of a paused QEMU", truth_ms, measured_ms, "ms")
        found.append(measured_ms - truth_ms)
    return found


def test_a_paused_process(lab: Lab, guest: Domain, watched: Callable[[Callable[[], None]], dict[str, pl.DataFrame]]) -> None:
    [qemu] = processes(lab, "a", "qemu-system")
    stood: list[Interval] = []

    def stop_and_go() -> None:
        for pause_ms in PAUSES_MS * TIMES:
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            from_ns = time.monotonic_ns()
            pause(pause_ms / 1000)
            stood.append((from_ns, time.monotonic_ns()))
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            pause(2)

    pidfd = os.pidfd_open(qemu.pid)
    try:
        frames = watched(stop_and_go)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)
    answered_ms = errors_ms("reachability gap", frames["probe"], "received_ns", stood)
    played_ms = errors_ms("service gap", frames["packets"], "arrived_ns", stood)
    assert all(-5 < error_ms < MOST_ERROR_MS + 5 for error_ms in answered_ms), answered_ms
    # A silence cannot be shorter than the pause.
    assert min(played_ms) > -5, played_ms
    for each, pause_ms in enumerate(PAUSES_MS):
        # A viewer's packets come 20 to 40 ms apart anyway.
        assert min(played_ms[each :: len(PAUSES_MS)]) < MOST_ERROR_MS + 40, (pause_ms, played_ms)


def test_blackout(lab: Lab, guest: Domain) -> None:
    for pause_ms in PAUSES_MS:
        before = read_pair()
        with MigrationEvents((lab.guest, lab.guest), lab.hosts["a"], lab.hosts["b"]) as events:
            first_ns = time.monotonic_ns()
            guest.suspend()
            from_ns = time.monotonic_ns()
            pause(pause_ms / 1000)
            to_ns = time.monotonic_ns()
            guest.resume()
            last_ns = time.monotonic_ns()
            pause(0.5)
        converted = conversion(before, read_pair())
        moments = [
            Moment(event, converted.to_monotonic_ns(event.realtime_ns))
            for event in events.events
            if event.realtime_ns is not None
        ]
        stop_ns, resume_ns = find(moments, "qemu", "a", "STOP"), find(moments, "qemu", "a", "RESUME")
        assert stop_ns is not None
        assert resume_ns is not None
        say("blackout", (to_ns - from_ns) / 1e6, (resume_ns - stop_ns) / 1e6, "ms")
        # It stopped between our call and its return, and went on likewise: the truth lies between the two.
        assert (to_ns - from_ns) - converted.error_ns <= resume_ns - stop_ns <= (last_ns - first_ns) + converted.error_ns
