"""The launcher on a bad day: no network, and an environment that was only half made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def copy_of_the_tree(folder: Path) -> Path:
    """What a user would have cloned: no virtual environment, no results."""
    ignored = shutil.ignore_patterns(".venv", ".git", "results", "__pycache__", ".install.lock", "recorded")
    return Path(shutil.copytree(PROJECT, folder / "a tree", ignore=ignored))


def test_without_a_network_one_sentence_says_so(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    # Half of an environment, as an interrupted installation leaves it.
    (tree / ".venv" / "bin").mkdir(parents=True)
    done = subprocess.run(
        ["unshare", "--net", str(tree / "whimbrel"), "--help"], capture_output=True, text=True, timeout=600, cwd="/"
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "is the network there?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tree / ".venv" / ".complete").exists()
