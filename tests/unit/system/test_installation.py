"""The number of an installation is made once, and never silently made anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whimbrel.errors import UsageError
from whimbrel.system.installation import installation_id

PROJECT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "home"))


def test_it_is_made_once_and_another_one_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = installation_id()
    assert installation_id() == first
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["installation"]
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "elsewhere"))
    assert installation_id() != first


def test_commands_that_begin_at_once_agree() -> None:
    ask = [sys.executable, "-c", "from whimbrel.system.installation import installation_id; print(installation_id())"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    running = [subprocess.Popen(ask, stdout=subprocess.PIPE, text=True, env=env) for _ in range(6)]
    assert {process.communicate(timeout=60)[0].strip() for process in running} == {str(installation_id())}


@pytest.mark.parametrize("text", ["", "3a9f1c2e-0000"])
def test_a_damaged_one_is_named_and_left(tmp_path: Path, text: str) -> None:
    file = tmp_path / "home" / "installation"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match=r"home/installation is damaged[^$]*backup"):
        installation_id()
    assert file.read_text() == text
