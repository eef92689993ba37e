"""The Python API deploys one guest in a lab of three servers, and moves it from north to west to east: as docs/python.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import whimbrel
from tests.documented import examples
from tests.labs import PROJECT
from whimbrel.errors import UsageError
from whimbrel.lab.lab import ledger_of


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "scenarios").symlink_to(PROJECT / "scenarios")
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("notebook", "mytests"):
        with ledger_of(name) as ledger:
            left = ledger.entries
            ledger.undo_all()
        assert left == []


def test_a_guest_goes_from_north_to_west_to_east_measured(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in examples("Deploy and migrate"):
        exec(compile(code, "docs/python.md", "exec"), names)
    moves = names["moves"]
    assert isinstance(moves, list)
    assert [(move["from"], move["to"]) for move in moves] == [("north", "west"), ("west", "east")]
    for move in moves:
        assert move["total_s"] > 0
        assert 0 < move["blackout_ms"] <= move["gap_ms"]
    said = capsys.readouterr().out
    assert "\neast\n" in said
    assert "moving to host west" not in said
    # It is undeployed, and its records stay.
    assert whimbrel.deployed() == []
    with pytest.raises(UsageError, match="nothing is deployed under the name 'shop'"):
        whimbrel.find("shop")
    [record] = [whimbrel.open_results("moves/east").record(1)]
    assert (record.plan.source, record.plan.destination, record.outcome.result) == ("west", "east", "moved")
    assert record.provenance.command == "whimbrel.find('shop').migrate('east')"
    assert record.spec.migration.max_downtime_s == pytest.approx(0.2)


@pytest.mark.long
def test_a_user_s_own_pytest_deploys_and_moves(tmp_path: Path) -> None:
    [code] = examples("In your own tests", tests=True)
    (tmp_path / "test_shop.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"], cwd=tmp_path, capture_output=True,
        text=True, timeout=600, env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
