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


def compiled_is_kept_in(tmp_path: Path, uid: int, **environment: str) -> str:
    script = '. "$here/scripts/install.sh"; keep_compiled; echo "${PYTHONPYCACHEPREFIX-nowhere}|${PYTHONDONTWRITEBYTECODE-}"'
    # Read by us: an ordinary user may not enter every checkout.
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts/install.sh", tmp_path / "scripts")
    tmp_path.chmod(0o755)
    done = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "here": ".", "me": "test", **environment},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_what_root_runs_is_compiled_where_only_root_may_write(tmp_path: Path) -> None:
    assert compiled_is_kept_in(tmp_path, 0, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)) == "/var/cache/whimbrel/compiled|"
    folder = Path("/var/cache/whimbrel/compiled").stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (0, 0o700)


def test_what_a_user_runs_is_compiled_in_their_cache(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    assert compiled_is_kept_in(tmp_path, 65534, HOME=str(home)) == f"{home}/.cache/whimbrel/compiled|"


def test_without_a_home_nothing_that_was_compiled_is_kept(tmp_path: Path) -> None:
    assert compiled_is_kept_in(tmp_path, 65534) == "nowhere|1"


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


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("service:\n  image: {disk: debian.qcow2, user_data: init.yaml}\n", True),
        ('{"service": {"image": {"disk": "/srv/debian.img"}}}', True),
        ("guest: {memory: 1 GiB, disk: 3 GiB}\n", False),
    ],
)
def test_what_makes_a_disk_for_cloud_init_is_installed_only_for_a_cloud_image(tmp_path: Path, text: str, asked: bool) -> None:
    (tmp_path / "file.yaml").write_text(text)
    command = ["sh", "-c", _ASKED, "sh", str(PROJECT), "run", "file.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["genisoimage"] if asked else []), done.stderr
