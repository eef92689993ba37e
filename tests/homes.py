"""A home of its own for each test that is no test of the machine."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

_numbers = count()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def home_of_its_own(homes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What it keeps is not the machine's: tests of labs run beside, and look whether anything of theirs is left."""
    home = homes / str(next(_numbers))
    home.mkdir(mode=0o700)
    monkeypatch.setenv("WHIMBREL_HOME", str(home))
    return home
