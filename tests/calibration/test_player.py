"""The player against a sender that falls silent for a known time, and against the wire."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.origin import URL, native_origin

from tests.calibration.table import say
from whimbrel.analysis.gaps import longest_silence
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.process import run, start

pytestmark = pytest.mark.alone

GAPS_MS = (30.0, 300.0, 3000.0, 300.0)
AFTER_S = 3.0
PORT = 1936
# What a machine that does other work as well may add; the table in docs/measuring.md says what is usual.
MOST_ERROR_MS = 25


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, dict[str, list[list[int]]]]:
    folder = tmp_path_factory.mktemp("relay")
    # A short read-ahead, so that the origin keeps sending: it holds back by itself once a viewer has enough.
    configuration = {"url": f"rtmp://127.0.0.1:{PORT}/film/film.flv", "viewers": 1, "read_ahead_s": 0.1, "length_s": 60.0}
    with native_origin(folder, 125e3, 60.0) as origin:
        relay = start(
            origin.inside([sys.executable, str(Path(__file__).with_name("relay.py")), str(PORT), str(folder / "relay.json"),
                           str(AFTER_S), *map(str, GAPS_MS)]),
            stdout=True, log_file=folder / "relay.log",
        )  # fmt: skip
        assert relay.stdout.readline() == b"ready\n", (folder / "relay.log").read_text()
        with Instrument(
            "player", "whimbrel.stream.player", configuration, output=folder / "packets.parquet", log_file=folder / "log",
            wrap=origin.inside,
        ):  # fmt: skip
            pause(len(GAPS_MS) * (AFTER_S + 0.5) + sum(GAPS_MS) / 1000 + 2)
        assert relay.wait(20) is not None, "the relay did not end with its viewer"
        relay.stop()
    return pl.read_parquet(folder / "packets.parquet"), json.loads((folder / "relay.json").read_text())


def test_planted_gaps_are_read_from_the_log(played: tuple[pl.DataFrame, dict[str, list[list[int]]]]) -> None:
    packets, relay = played
    arrived = packets.get_column("arrived_ns").to_numpy()
    assert len(relay["planted"]) == len(GAPS_MS)
    for from_ns, to_ns in relay["planted"]:
        silence = longest_silence(arrived, from_ns, to_ns)
        assert silence is not None
        truth_ms = (to_ns - from_ns) / 1e6
        say("service gap", truth_ms, silence.length_ms, "ms")
        assert abs(silence.length_ms - truth_ms) < MOST_ERROR_MS


def test_packets_are_logged_when_they_were_on_the_wire(
    played: tuple[pl.DataFrame, dict[str, list[list[int]]]],
) -> None:
    packets, relay = played
    wire = np.sort([at for at, _ in relay["segments"]])
    assert len(wire) > 100
    arrived = packets.get_column("arrived_ns").sort().to_numpy()
    arrived = arrived[arrived > wire[0] + 1_000_000_000]
    # Both stamps are the kernel's, of the same segment on its way through: the capture's may be a moment before or after.
    after = np.clip(np.searchsorted(wire, arrived), 1, len(wire) - 1)
    errors_ms = np.minimum(np.abs(arrived - wire[after - 1]), np.abs(wire[after] - arrived)) / 1e6
    say("arrival from the wire, median", 0, float(np.median(errors_ms)), "ms")
    say("arrival from the wire, p99", 0, float(np.quantile(errors_ms, 0.99)), "ms")
    assert np.median(errors_ms) < 1
    assert np.quantile(errors_ms, 0.99) < MOST_ERROR_MS


_FFMPEG = """
import av, json, os, sys, time
found = []
until = time.monotonic() + 5
with av.open(sys.argv[1], timeout=(5, 5), options={"rtmp_buffer": "3000", "fflags": "nobuffer"}) as container:
    for packet in container.demux():
        if packet.dts is not None and packet.size:
            kind = 0 if packet.stream.type == "video" else 1
            found.append([kind, round(packet.dts * packet.time_base * 1000), packet.size])
        if time.monotonic() > until:
            break
    print(json.dumps(found), flush=True)
    os._exit(0)
"""


def test_our_player_hears_what_ffmpeg_hears(tmp_path: Path) -> None:
    """Kind, time in the stream and size of every packet, from a real nginx-RTMP."""
    with native_origin(tmp_path, 2.5e6 / 8, 60.0) as origin:
        theirs = {tuple(packet) for packet in json.loads(run(origin.inside([sys.executable, "-c", _FFMPEG, URL])).stdout)}
        configuration = {"url": URL, "viewers": 1, "read_ahead_s": 3.0, "length_s": 60.0}
        with Instrument(
            "player", "whimbrel.stream.player", configuration, output=tmp_path / "packets.parquet", log_file=tmp_path / "log",
            wrap=origin.inside,
        ):  # fmt: skip
            pause(6)
    ours = set(pl.read_parquet(tmp_path / "packets.parquet").select("kind", "stream_ms", "bytes").iter_rows())
    # FFmpeg drops what it has looked at to find out what is there, and neither stopped at the same packet: of two of one time,
    # perhaps between them.
    first, last = min(at for _, at, _ in theirs), min(max(at for _, at, _ in heard) for heard in (ours, theirs))
    assert last - first > 3000
    assert {packet for packet in ours if first <= packet[1] < last} == {packet for packet in theirs if packet[1] < last}
