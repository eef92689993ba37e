"""A scratch folder goes at its end, however that comes; what a kill leaves, gc removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from whimbrel.cli.lab import gc
from whimbrel.system.ledger import folder as ledgers
from whimbrel.system.scratch import scratch_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a ledger")

KILLED = """
import os, signal
from whimbrel.system.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "file").write_text("something")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    return tmp_path


def test_it_is_there_for_its_maker_alone_and_gone_afterwards() -> None:
    with scratch_folder() as one, scratch_folder() as other:
        assert one != other
        (one / "file").write_text("something")
        assert one.stat().st_mode & 0o777 == 0o700
        assert len(list(ledgers().glob("*.jsonl"))) == 2
    assert not one.exists()
    assert not other.exists()
    assert list(ledgers().iterdir()) == []


def test_it_goes_when_what_used_it_fails() -> None:
    with pytest.raises(RuntimeError), scratch_folder() as folder:
        raise RuntimeError
    assert not folder.exists()
    assert list(ledgers().iterdir()) == []


def test_gc_removes_what_a_kill_has_left(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parents[3] / "src"), "WHIMBREL_HOME": str(home), "PATH": os.environ["PATH"]}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = Path(killed.stdout.strip())
    assert (folder / "file").exists()
    gc()
    assert capsys.readouterr().out == f"removed folder {folder}\n"
    assert not folder.exists()
    assert list(ledgers().iterdir()) == []
