"""The launcher on a bad day: no network, and an environment that was only half made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
        ["unshare", "--net", str(tree / "whimbrel"), "--help"], capture_output=True, text=True, timeout=600, cwd="/",
        # What it says once it has tried often enough is the same.
        env={**os.environ, "PIP_RETRIES": "0"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "is the network there?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tree / ".venv" / ".complete").exists()


# Each of the two waits for the other to have begun.
_BOTH = """
set -eu
here=$1 me=test
. "$here/scripts/install.sh"
meet() { : >"$2/$1"; tries=200; until [ -e "$2/$3" ]; do tries=$((tries - 1)); [ "$tries" -gt 0 ]; sleep 0.05; done; }
packages() { meet packages "$1" venv; : >"$1/installed"; }
need_venv() { meet venv "$place" packages; [ "$outcome" = works ] || fail "no environment" 3; }
place=$2 outcome=$3
need_venv_beside packages "$place"
echo "$outcome"
"""


@pytest.mark.parametrize(("outcome", "code", "said"), [("works", 0, "works\n"), ("fails", 3, "")])
def test_packages_and_environment_are_installed_at_the_same_time(tmp_path: Path, outcome: str, code: int, said: str) -> None:
    done = subprocess.run(["sh", "-c", _BOTH, "sh", PROJECT, tmp_path, outcome], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
    # Neither is left behind at work.
    assert (tmp_path / "installed").exists()


def test_packages_that_cannot_be_installed_end_it_all(tmp_path: Path) -> None:
    script = _BOTH.replace(': >"$1/installed"', 'fail "no packages" 3')
    done = subprocess.run(["sh", "-c", script, "sh", PROJECT, tmp_path, "works"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "test: no packages\n")


_ASKED = """
set -eu
here=$1 me=test
. "$here/scripts/install.sh"
shift
packages_asked_for "$@"
"""


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["run", "one.yaml"], True),
        (["run", "--resume", "folder"], True),
        (["run", "none.yaml", "--set", "scenarios.vm.arms=[{vlc_viewers: 1}]"], True),
        (["doctor", "crossed.yaml"], True),
        (["run", "none.yaml"], False),
        (["run", "zero.yaml", "--resume", "elsewhere"], False),
    ],
)
def test_vlc_is_installed_only_for_a_file_with_viewers_of_it(tmp_path: Path, words: list[str], asked: bool) -> None:
    (tmp_path / "one.yaml").write_text("scenarios:\n  - arms: [{viewers: 2, vlc_viewers: 1, trials: 2}]\n")
    (tmp_path / "crossed.yaml").write_text("scenarios:\n  - factors: {vlc_viewers: [0, 1]}\n")
    (tmp_path / "none.yaml").write_text("scenarios:\n  - arms: [{viewers: 1}]\n")
    (tmp_path / "zero.yaml").write_text("scenarios:\n  - arms: [{vlc_viewers: 0, viewers: 1}]\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "campaign.json").write_text('{"arms": [{"viewers": 0,\n "vlc_viewers": 2,\n "trials": 1}]}')
    command = ["sh", "-c", _ASKED, "sh", str(PROJECT), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["vlc-bin", "vlc-plugin-base"] if asked else []), done.stderr
