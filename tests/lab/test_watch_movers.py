"""``whimbrel watch`` beside movers that are not ours: plain virsh between two servers of the lab."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.deployments import Deployed
from whimbrel.deployment.bringing_up import guest_of
from whimbrel.system.process import run

PROJECT = Path(__file__).parents[2]


def virsh(deployed: Deployed, source: str, destination: str) -> list[str]:
    """As an operator would type it on the source."""
    there, guest = deployed.lab.hosts[destination], guest_of(deployed.deployment, deployed.lab)
    words = [
        "virsh",
        "migrate",
        "--p2p",
        "--live",
        "--abort-on-error",
        guest.name,
        there.peering.peer_uri,
        "--migrateuri",
        there.peering.move_uri,
    ]
    return list(deployed.lab.hosts[source].command(words))


@pytest.mark.long
def test_plain_virsh_there_and_back_with_every_kind_of_check(deployed: Deployed, tmp_path: Path) -> None:
    lab, guest = deployed.lab, guest_of(deployed.deployment, deployed.lab)
    checks = [
        f"icmp:{guest.address}#icmp,rate=100", f"tcp://{guest.address}:1935#tcp", f"http://{guest.address}/hls/film.m3u8#http",
        f"rtmp://{guest.address}/film/film.flv#rtmp", f"hls:http://{guest.address}/hls/film.m3u8#hls",
    ]  # fmt: skip
    words = [word for check in checks for word in ("--check", check)]
    words += [word for name, host in lab.hosts.items() for word in ("--libvirt", f"{name}={host.libvirt_uri}")]
    words += ["--guest", guest.name, "--repeat", "1", "--back", shlex.join(virsh(deployed, "b", "a"))]
    watching = [sys.executable, "-m", "whimbrel", "watch", "--json", "--out", str(tmp_path / "out"), *words, "--"]
    done = run(
        lab.network.vantage.command([*watching, *virsh(deployed, "a", "b")]),
        env={"PYTHONPATH": str(PROJECT / "src")},
        check=False,
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["way"] for each in found["moves"]] == ["there", "back"]
    for move, way in zip(found["moves"], (("a", "b"), ("b", "a")), strict=True):
        engines, by_name = move["engines"], {check["name"]: check for check in move["checks"]}
        assert (engines["source"], engines["destination"]) == way
        lengths = {phase["name"]: phase["length_s"] for phase in engines["phases"]}
        assert all(length_s is not None and length_s >= 0 for length_s in lengths.values()), lengths
        # All of it happened while the command ran, but for the first answers afterwards.
        began_s, ended_s = move["command"]["started_s"], move["command"]["ended_s"]
        assert all(began_s - 1 <= phase["from_s"] <= ended_s for phase in engines["phases"]), engines
        assert engines["blackout_ms"] == pytest.approx(lengths["stop-and-copy"] * 1e3)
        assert 0 < engines["libvirt_downtime_ms"] < 5_000
        assert engines["transferred_bytes"] > 10 << 20
        assert engines["rounds"]
        assert 0 < engines["source_cpu_s"] < 10 * (ended_s - began_s)
        for name, check in by_name.items():
            assert check["longest_gap_s"] is not None, (name, check)
            # What is sent to a guest that stands still is lost; TCP sends it again, so that it is late only.
            assert set(check["failures"]) <= ({"timed-out"} if name == "icmp" else set()), (name, check)
        # Nobody is answered while no copy executes.
        for name in ("icmp", "http"):
            gap_ms, known_ms = by_name[name]["longest_gap_s"] * 1e3, by_name[name]["gap_resolution_s"] * 1e3
            assert gap_ms >= engines["blackout_ms"] - known_ms, (name, gap_ms, engines["blackout_ms"])
        assert by_name["rtmp"]["connections_lost"] == 0
        assert by_name["rtmp"]["stream"]["stalling_mos"] is not None
    assert found["all"][0]["engines"]["blackout_ms"]["median"] == found["moves"][0]["engines"]["blackout_ms"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "from a to b, blackout" in page
    assert pl.read_parquet(tmp_path / "out" / "there-1.job.parquet").height > 3
    assert deployed.copies() == ["a"]
