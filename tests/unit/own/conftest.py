from __future__ import annotations

from pathlib import Path

import pytest

from tests.own_hosts import OwnHosts
from whimbrel.own import claim as claims


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OwnHosts:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(claims, "SETTLES_S", 0.0)
    return OwnHosts(monkeypatch)
