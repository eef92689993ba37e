"""VLC, the paper's client, as a viewer of another make: where it stalls our player says so too, and where not, neither does."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from benchmarks.crowd import vlc_command
from benchmarks.origin import Origin, native_origin

from tests.calibration.table import say
from whimbrel.analysis.playback import Arrival, play
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.process import Running, start

pytestmark = pytest.mark.alone

AFTER_S = 5.0
# nginx-RTMP sends about 4 s ahead: a gap of 1 s is bridged, one of 9 s is not.
GAPS_MS = (1000.0, 9000.0)
WATCHED_S = 24.0
# VLC's own default network-caching.
BUFFER_S = 1.0
# What VLC says when a packet came after it should have been shown, and when it shows pictures again.
TOO_LATE, GOES_ON = "is called too late", "Stream buffering done"

Said = list[tuple[float, str]]
Silences = list[tuple[float, float]]


def relay(origin: Origin, port: int, output: Path) -> Running:
    command = [
        sys.executable,
        str(Path(__file__).with_name("relay.py")),
        str(port),
        str(output),
        str(AFTER_S),
        *map(str, GAPS_MS),
    ]
    running = start(origin.inside(command), stdout=True, log_file=output.with_suffix(".log"))
    assert running.stdout.readline() == b"ready\n"
    return running


def silences(running: Running, output: Path) -> Silences:
    assert running.wait(20) == 0, output.with_suffix(".log").read_text()
    running.stop()
    return [(from_ns / 1e9, to_ns / 1e9) for from_ns, to_ns in json.loads(output.read_text())["planted"]]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with native_origin(tmp_path_factory.mktemp("origin"), 125e3, 60.0) as made:
        yield made


def watch_with_vlc(origin: Origin, folder: Path) -> tuple[Said, Silences]:
    relaying = relay(origin, 1936, folder / "vlc.json")
    command = vlc_command()
    assert command is not None
    command = [word for word in command[:-1] if word != "--quiet"] + ["-vv", "--no-color", "rtmp://127.0.0.1:1936/film/film.flv"]
    said: Said = []
    vlc = start(["sh", "-c", 'exec "$@" 2>&1', "sh", *origin.inside(command)], stdout=True)

    def read() -> None:
        for line in vlc.stdout:
            said.append((time.monotonic(), line.decode(errors="replace")))

    threading.Thread(target=read, daemon=True).start()
    pause(WATCHED_S)
    vlc.stop(patience_s=2)
    return said, silences(relaying, folder / "vlc.json")


def watch_with_ours(origin: Origin, folder: Path) -> tuple[pl.DataFrame, Silences]:
    relaying = relay(origin, 1937, folder / "ours.json")
    configuration = {"url": "rtmp://127.0.0.1:1937/film/film.flv", "viewers": 1, "read_ahead_s": 3.0, "length_s": 60.0}
    with Instrument(
        "player", "whimbrel.stream.player", configuration, output=folder / "packets.parquet", log_file=folder / "log",
        wrap=origin.inside,
    ):  # fmt: skip
        pause(WATCHED_S)
    return pl.read_parquet(folder / "packets.parquet"), silences(relaying, folder / "ours.json")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cvlc") is None, reason="VLC is not installed (./check installs it)")
def test_vlc_and_our_player_see_the_same_stall(origin: Origin, tmp_path: Path) -> None:
    said, planted = watch_with_vlc(origin, tmp_path)
    late = [at_s for at_s, line in said if TOO_LATE in line]
    went_on = [at_s for at_s, line in said if GOES_ON in line and late and at_s > late[0]]
    assert len(planted) == 2
    assert all(at_s > planted[1][0] for at_s in late), "VLC stalled at a gap that was bridged"
    assert late, "VLC did not stall"

    packets, own_planted = watch_with_ours(origin, tmp_path)
    rows = packets.select("arrived_ns", "stream_ms", "connection").sort("arrived_ns").iter_rows()
    arrivals = [Arrival(arrived_ns / 1e9, stream_ms / 1e3, connection) for arrived_ns, stream_ms, connection in rows]
    [stall] = play(arrivals, arrivals[0].arrived_s, BUFFER_S, arrivals[-1].arrived_s).stalls
    assert stall.from_s > own_planted[1][0]

    # Both go on once the silence has ended; each had its own relay, so the two are compared by that.
    vlc_s, own_s = went_on[0] - planted[1][1], stall.to_s - own_planted[1][1]
    say("end of a stall after the silence: VLC, our player", vlc_s, own_s, "s")
    assert abs(vlc_s - own_s) < 0.5
