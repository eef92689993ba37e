"""A container on the servers themselves is deployed, moved from one to the next by CRIU, and taken away: as a user does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_command_line import whimbrel
from tests.labs import PROJECT
from whimbrel.deployment.deployed import find
from whimbrel.images.store import ImageStore
from whimbrel.lab.criu_check import examine_criu
from whimbrel.lab.lab import ledger_of
from whimbrel.migrate.techniques import lacks
from whimbrel.system import netns
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import run

pytestmark = pytest.mark.alone

SERVERS = PROJECT / "scenarios" / "servers.yaml"
THREE = "lab.servers={north: {memory: 2 GiB}, east: {memory: 2 GiB}, west: {memory: 2 GiB}}"
HERE = ("--set", "lab.name=cells", "--set", THREE)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    reason = lacks("checkpoint", examine_criu(ImageStore()))
    if reason is not None:
        pytest.skip(reason)
    yield
    for name in ("box", "other"):
        whimbrel("undeploy", name)
    with ledger_of("cells") as ledger:
        left = ledger.entries
        ledger.undo_all()
    assert left == []


def where(name: str) -> list[str]:
    done = whimbrel("deployed", "--json")
    assert done.returncode == 0, done.stderr
    [facts] = [facts for facts in json.loads(done.stdout) if facts["name"] == name]
    found: list[str] = facts["runs_on"]
    return found


def migrate(to: str, *words: str | Path) -> dict[str, Any]:
    done = whimbrel("migrate", "box", "--to", to, "--json", *words)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_a_container_goes_round_three_servers_with_what_it_knows(tmp_path: Path) -> None:
    done = whimbrel("deploy", SERVERS, "--arm", "checkpoint", "--name", "box", "--on", "north", *HERE, "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["host"], json.loads(done.stdout)["form"]) == ("north", "container")
    assert where("box") == ["north"]
    # On west there is no cell yet, on north one that was left.
    for position, to in enumerate(("west", "north", "east")):
        figures = migrate(to, "--out", tmp_path / str(position))
        assert (figures["result"], figures["runs_on"], figures["technique"]) == ("moved", [to], "checkpoint")
        assert figures["kept"] == ["connection", "counter", "file", "memory"]
        assert 0 < figures["blackout_ms"] <= figures["total_s"] * 1e3
        assert figures["reachability_gap_ms"] > 0
        assert where("box") == [to]
        assert whimbrel("show", tmp_path / str(position), "1").returncode == 0
    assert migrate("west", "--technique", "restart")["kept"] == ["file"]
    done = whimbrel("recover", "box")
    assert (done.returncode, "box runs on host west, and nowhere else" in done.stdout) == (0, True), done.stderr
    assert whimbrel("undeploy", "box").returncode == 0
    assert ledger_of("cells").entries == []


def neighbours(*addresses: str) -> dict[str, str]:
    """Who answers at these addresses, to the vantage: the MAC of each."""
    vantage = netns.inside("whimbrel-cells-vantage")
    for address in addresses:
        run([*vantage, "bash", "-c", f"exec 3<>/dev/tcp/{address}/1935"])
    told = json.loads(run([*vantage, "ip", "-json", "neighbour", "show"]).stdout)
    return {each["dst"]: each["lladdr"] for each in told if each["dst"] in addresses}


@pytest.mark.long
def test_two_containers_share_servers_and_each_moves_by_itself(tmp_path: Path) -> None:
    put_up = {}
    for name in ("box", "other"):
        done = whimbrel("deploy", SERVERS, "--arm", "checkpoint", "--name", name, "--on", "north", *HERE, "--json")
        assert done.returncode == 0, done.stderr
        put_up[name] = json.loads(done.stdout)["address"]
    assert len(set(put_up.values())) == 2
    assert len(set(neighbours(*put_up.values()).values())) == 2
    for to in ("west", "north", "west"):
        assert migrate(to)["kept"] == ["connection", "counter", "file", "memory"]
        assert (where("box"), where("other")) == ([to], ["north"])
        assert len(set(neighbours(*put_up.values()).values())) == 2
    # Onto the server where the first one is now.
    done = whimbrel("migrate", "other", "--to", "west", "--json")
    assert (done.returncode, json.loads(done.stdout)["kept"]) == (0, ["connection", "counter", "file", "memory"]), done.stderr
    assert (where("box"), where("other")) == (["west"], ["west"])
    assert whimbrel("undeploy", "box").returncode == 0
    assert where("other") == ["west"]
    assert list(neighbours(put_up["other"])) == [put_up["other"]]
    done = whimbrel("recover", "other")
    assert (done.returncode, "other runs on host west, and nowhere else" in done.stdout) == (0, True), done.stderr


@pytest.mark.long
@pytest.mark.parametrize("step", ["reserved", "leave"])
def test_a_container_whose_mover_was_killed_is_found_running_once(step: str, tmp_path: Path) -> None:
    done = whimbrel("deploy", SERVERS, "--arm", "checkpoint", "--name", "box", "--on", "north", *HERE)
    assert done.returncode == 0, done.stderr
    with subprocess.Popen(
        [sys.executable, "-m", "whimbrel", "migrate", "box", "--to", "east"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    ) as mover:  # fmt: skip
        journal = find("box").journal_file
        wait_until(
            lambda: (True, "") if journal.exists() and f'"{step}"' in journal.read_text() else (None, "not yet"),
            f"the step {step}", Deadline(60),
        )  # fmt: skip
        mover.kill()
    assert whimbrel("gc").returncode == 0
    assert "interrupted: recover it" in whimbrel("deployed", "--json").stdout
    done = whimbrel("recover", "box")
    assert done.returncode == 0, done.stderr
    [host] = where("box")
    # The two sides settle it among themselves: once it was told to leave it may have gone, or not.
    assert host == "north" or step == "leave"
    assert migrate("west")["kept"] == ["connection", "counter", "file", "memory"]
