"""What is kept is its owner's alone, also where an older version left it open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from whimbrel.deployment.deployed import deployed
from whimbrel.errors import CapabilityError
from whimbrel.images.store import ImageStore
from whimbrel.system.folders import make_private
from whimbrel.system.ledger import Ledger, all_ledgers


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_store_that_an_older_version_left_open_is_closed_with_the_next_ledger(store: Path) -> None:
    for name in ("images", "labs", "ledger", "bookings", "deployments"):
        (store / name).mkdir(parents=True)
        (store / name).chmod(0o755)
    (store / "theirs").mkdir()
    (store / "theirs").chmod(0o755)
    with Ledger("one"):
        closed = {path.name: mode(path) for path in store.iterdir()}
    assert closed == dict.fromkeys(("images", "labs", "ledger", "bookings", "deployments"), 0o700) | {"theirs": 0o755}


def test_what_is_made_is_closed_whatever_the_umask(store: Path) -> None:
    before = os.umask(0)
    try:
        make_private(store / "labs" / "one")
    finally:
        os.umask(before)
    assert mode(store / "labs" / "one") == 0o700


@pytest.mark.parametrize(
    ("room", "look"),
    [
        ("ledger", lambda: list(all_ledgers())),
        ("images", lambda: ImageStore().images()),
        ("deployments", lambda: list(deployed())),
    ],
)
def test_who_may_not_see_is_told_so_and_not_that_there_is_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, room: str, look: object
) -> None:
    make_private(store / room)
    assert callable(look)
    assert look() == []
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CapabilityError, match="only root may see"):
        look()
