"""``whimbrel watch`` beside movers that are not ours: plain virsh between two servers of the lab."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.deployments import Deployed
from whimbrel.analysis.figures import figures_of
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


# How far medians of a few moves may be apart: moves on a machine that others share vary by that much among themselves.
MOST_RATIO, MOST_APART_MS = 1.4, 60.0
PAIRS = 4


def by_watch(deployed: Deployed, source: str, destination: str) -> dict[str, float]:
    """The figures of one move by virsh, as ``watch`` gives them."""
    lab, guest = deployed.lab, guest_of(deployed.deployment, deployed.lab)
    words = ["--icmp", f"{guest.address}#icmp,rate=200", "--before", "2s", "--after", "3s", "--guest", guest.name]
    words += [word for name, host in lab.hosts.items() for word in ("--libvirt", f"{name}={host.libvirt_uri}")]
    watching = [sys.executable, "-m", "whimbrel", "watch", "--json", *words, "--", *virsh(deployed, source, destination)]
    done = run(lab.network.vantage.command(watching), env={"PYTHONPATH": str(PROJECT / "src")}, check=False)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    command, engines = found["command"], found["engines"]
    return {
        "total_s": command["ended_s"] - command["started_s"],
        "libvirt_downtime_ms": engines["libvirt_downtime_ms"],
        "blackout_ms": engines["blackout_ms"],
        "reachability_gap_ms": found["checks"][0]["longest_gap_s"] * 1e3,
        "transferred_bytes": engines["transferred_bytes"],
    }


@pytest.mark.long
@pytest.mark.alone
def test_watch_and_a_campaign_agree_on_moves_by_virsh(deployed: Deployed) -> None:
    """The same guest moved by the same command, in turn: once as a trial does it (``by: virsh``), once watched from outside."""
    found: dict[str, dict[str, list[float]]] = {"watch": defaultdict(list), "campaign": defaultdict(list)}
    here, there = "a", "b"
    for number in range(2 * PAIRS):
        # Both go either way equally often.
        if number % 4 in (0, 3):
            moved = deployed.move(there, None, "by=virsh")
            assert moved.error is None
            figures = figures_of(moved.stored)
            values = {name: getattr(figures, name) for name in ("total_s", "libvirt_downtime_ms", "blackout_ms",
                                                                "reachability_gap_ms", "transferred_bytes")}  # fmt: skip
            who = "campaign"
        else:
            values, who = by_watch(deployed, here, there), "watch"
        for name, value in values.items():
            assert value is not None, (who, name)
            found[who][name].append(value)
        here, there = there, here
    medians = {who: {name: statistics.median(each) for name, each in of.items()} for who, of in found.items()}
    print(json.dumps({"medians": medians, "each": found}, indent=1))
    for name, ours in medians["campaign"].items():
        seen = medians["watch"][name]
        apart_ms = abs(ours - seen) if name.endswith("_ms") else float("inf")
        assert 1 / MOST_RATIO < seen / ours < MOST_RATIO or apart_ms < MOST_APART_MS, (name, found)
