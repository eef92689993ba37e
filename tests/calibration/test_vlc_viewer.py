"""VLC as a viewer of ours: what its own counters make of a server that stands still for a known time."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest
from benchmarks.origin import URL, Origin, native_origin

from tests.calibration.table import say
from tests.unit.analysis.test_hls_figures import record_of_vm
from whimbrel.analysis.phases import Moment
from whimbrel.analysis.vlc import VlcFigure, vlc_figures
from whimbrel.moves.instruments import said_by
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument

pytestmark = [
    pytest.mark.alone,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("vlc") is None, reason="VLC is not installed (./check installs it)"),
]

BEFORE_S, AFTER_S = 8.0, 4.0
PAUSES_S = (3.0, 6.0)
# One is sent next to nothing ahead; the other 4 s, as nginx-RTMP sends a second more than it is asked for.
AHEAD_S = {"short": 0.1, "usual": 3.0}
# Of an interval both ends are known to within the resolution; and a machine that does other work as well.
MOST_RESOLUTION_S = 0.6


def processes_of(origin: Origin) -> list[int]:
    """The server's processes: all below the one that made its namespaces."""
    found, to_see = [], [origin.process.pid]
    while to_see:
        children = Path(f"/proc/{to_see[0]}/task/{to_see.pop(0)}/children").read_text().split()
        found += [int(child) for child in children]
        to_see += [int(child) for child in children]
    return found


def stand_still(origin: Origin, seconds: float) -> tuple[int, int]:
    pids = processes_of(origin)
    from_ns = time.monotonic_ns()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pause(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    return from_ns, time.monotonic_ns()


def figure(player: Instrument, rows: pl.DataFrame, stood: tuple[int, int]) -> VlcFigure:
    """What is made of the rows, for a move that was called and returned when the server stood and went on."""
    record = record_of_vm()
    record = record.model_copy(update={"plan": record.plan.model_copy(update={"vlc_viewers": 1})})
    moments = [Moment(event, event.seen_ns) for event in said_by([player])]
    [found] = vlc_figures(record, moments, rows, stood)
    return found


def watch(folder: Path, seconds: float) -> tuple[float, dict[str, VlcFigure]]:
    """How long the server stood, and what a VLC of either kind made of it that had seen nothing of the kind before."""
    players = {}
    with native_origin(folder, 125e3, 60.0) as origin, ExitStack() as playing:
        for name, ahead_s in AHEAD_S.items():
            configuration = {"url": URL, "viewers": 1, "read_ahead_s": ahead_s, "length_s": 60.0}
            players[name] = playing.enter_context(
                Instrument("vlc player", "whimbrel.stream.vlc_player", configuration, output=folder / f"{name}.parquet",
                           log_file=folder / f"{name}.txt", wrap=origin.inside)
            )  # fmt: skip
        for player in players.values():
            player.wait_for(lambda said: any(line["say"] == "playing" for line in said), "to play", 30)
        pause(BEFORE_S)
        stood = stand_still(origin, seconds)
        pause(AFTER_S)
    found = {name: figure(player, pl.read_parquet(folder / f"{name}.parquet"), stood) for name, player in players.items()}
    for each in found.values():
        assert each.resolution_s is not None
        assert each.resolution_s < MOST_RESOLUTION_S
    return (stood[1] - stood[0]) / 1e9, found


def test_a_server_that_stands_still_is_seen_in_vlcs_own_counters(tmp_path: Path) -> None:
    truths_s, measured_s, usual = [], [], []
    for seconds in PAUSES_S:
        folder = tmp_path / f"{seconds}"
        folder.mkdir()
        truth_s, found = watch(folder, seconds)
        truths_s.append(truth_s)
        measured_s.append(found["short"].longest_stall_s or 0.0)
        usual.append(found["usual"])
        say("a server stopped, stall in VLC, which holds some pictures", truth_s, measured_s[-1], "s")
        # What was sent ahead it still shows: a second, and what it asked for.
        assert truth_s - 1 - AHEAD_S["short"] - MOST_RESOLUTION_S < measured_s[-1] < truth_s + MOST_RESOLUTION_S
    # By how much a pause is longer, by so much is its stall, whatever was sent ahead.
    longer_s = truths_s[1] - truths_s[0]
    say("by how much it is longer when the server stood longer", longer_s, measured_s[1] - measured_s[0], "s")
    assert abs(measured_s[1] - measured_s[0] - longer_s) < MOST_RESOLUTION_S
    say("a server stopped, stall in VLC with 4 s sent ahead", truths_s[1], usual[1].longest_stall_s or 0.0, "s")
    assert (usual[0].stalls, usual[0].longest_stall_s) == (0, 0.0)
    assert usual[1].stalls == 1
