"""Where a container is, as its carrier says it."""

from __future__ import annotations

import json

import pytest

from tests.fakes import ORIGIN, FakeCell, FakeHost
from whimbrel.errors import EngineError
from whimbrel.guests.carrier import CellCarrier, Needs, needs, put_bundle
from whimbrel.services.nginx import STREAM


@pytest.mark.parametrize(
    ("events", "state"),
    [("populated 1\nfrozen 0\n", "runs"), ("populated 1\nfrozen 1\n", "stands still"), ("populated 0\nfrozen 1\n", "absent"),
     ("", "absent")],
)  # fmt: skip
def test_its_group_says_whether_it_runs(events: str, state: str) -> None:
    cell = FakeCell(events)
    assert CellCarrier(FakeHost("a"), cell, "192.0.2.1", cell).state_of(ORIGIN) == state


def test_a_cell_that_has_ended_holds_nothing_and_one_that_is_silent_may() -> None:
    host, cell = FakeHost("a"), FakeCell("populated 1\nfrozen 0\n")
    place = CellCarrier(host, cell, "192.0.2.1", cell)
    cell.silent = True
    with pytest.raises(EngineError, match="does not answer"):
        place.state_of(ORIGIN)
    assert not place.gone
    cell.close()
    assert place.state_of(ORIGIN) == "absent"
    assert place.gone
    assert not host.gone


@pytest.mark.parametrize(("said", "found"), [("8388608\n4096\n", Needs(8 * 2**20, 4096)), ("unknown\n4096\n", Needs(None, 4096))])
def test_memory_that_nobody_counts_is_not_known(said: str, found: Needs) -> None:
    assert needs(FakeCell(said)) == found


def test_both_sides_run_the_same_bundle() -> None:
    cell, other = FakeCell(), FakeCell()
    for each in (cell, other):
        put_bundle(each, STREAM, "ADDRESS=192.0.2.100/24\n", "echo first; ", open_files=4096)
    assert cell.files == other.files
    config = json.loads(cell.files["/srv/origin/bundle/config.json"])
    assert config["process"]["args"][2].startswith("echo first; witness ")
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}]
    assert cell.files["/srv/origin/place"] == "ADDRESS=192.0.2.100/24\n"
