"""Several guests at a time in one lab of three servers, deployed and moved by name, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_command_line import whimbrel
from tests.labs import QUICK
from whimbrel.lab.lab import ledger_of

THREE = "lab.servers={north: {memory: 3 GiB}, east: {memory: 3 GiB}, west: {memory: 3 GiB}}"
IN_THREE = ("--arm", "baseline", "--set", "lab.name=several", "--set", "lab.link_rate=1 Gbit/s", "--set", THREE)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    for name in ("shop", "mail", "news"):
        whimbrel("undeploy", name)
    with ledger_of("several") as ledger:
        left = ledger.entries
        ledger.undo_all()
    assert left == []


def put_up(name: str, on: str) -> dict[str, Any]:
    done = whimbrel("deploy", QUICK, *IN_THREE, "--name", name, "--on", on, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def where() -> dict[str, list[str]]:
    done = whimbrel("deployed", "--json")
    assert done.returncode == 0, done.stderr
    return {facts["name"]: facts["runs_on"] for facts in json.loads(done.stdout)}


def migrate(name: str, to: str, out: Path) -> dict[str, Any]:
    done = whimbrel("migrate", name, "--to", to, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("others", [["mail"], pytest.param(["mail", "news"], marks=pytest.mark.long)], ids=["two", "three"])
@pytest.mark.long
def test_one_of_several_guests_goes_round_three_servers(others: list[str], tmp_path: Path) -> None:
    # A server has room for two.
    stay = dict(zip(others, (["east"], ["west"]), strict=False))
    addresses = {put_up("shop", "north")["address"], *(put_up(name, on)["address"] for name, [on] in stay.items())}
    assert len(addresses) == 1 + len(others)
    assert where() == {"shop": ["north"], **stay}
    for position, to in enumerate(("west", "east", "north")):
        out = tmp_path / str(position)
        figures = migrate("shop", to, out)
        assert figures["total_s"] > 0
        assert where() == {"shop": [to], **stay}
        assert whimbrel("show", out).returncode == 0
    plan = json.loads((tmp_path / "1" / "campaign.json").read_text())["plans"][0]
    assert (plan["source"], plan["destination"]) == ("west", "east")
    # The lab was made for the first, and goes with the last.
    for name in ("shop", *others):
        assert whimbrel("undeploy", name).returncode == 0
        stay.pop(name, None)
        assert where() == stay
        assert bool(ledger_of("several").entries) == bool(stay)


def test_hosts_that_are_not_there_are_refused_by_name_and_a_campaign_does_not_run_beside_a_guest(tmp_path: Path) -> None:
    done = whimbrel("deploy", QUICK, *IN_THREE, "--name", "shop", "--on", "south")
    assert (done.returncode, "the file has no host 'south'" in done.stderr) == (2, True)
    put_up("shop", "west")
    done = whimbrel("migrate", "shop", "--to", "south")
    assert (done.returncode, "those of shop: north, east, west" in done.stderr) == (2, True)
    done = whimbrel("migrate", "shop", "--to", "west")
    assert (done.returncode, "runs on host west already" in done.stderr) == (2, True)
    done = whimbrel("run", QUICK, *IN_THREE[2:], "--only", "baseline", "--out", tmp_path / "results")
    assert (done.returncode, "something is deployed: shop" in done.stderr) == (2, True)
    assert not (tmp_path / "results").exists()
