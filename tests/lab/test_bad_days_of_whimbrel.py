"""Bad days of whimbrel itself: killed at any moment, no room left, a machine that lacks something, two labs at once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_command_line import ENVIRONMENT, FAST, begin, wait_for_word, whimbrel
from tests.labs import QUICK
from tests.snapshot import snapshot
from tests.users import same_users
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import run


@pytest.mark.long
@pytest.mark.parametrize("moment_s", [round(random.Random(seed).uniform(0.3, 26), 1) for seed in range(20)])
def test_gc_after_a_kill_at_a_random_moment(moment_s: float, tmp_path: Path) -> None:
    before = snapshot()
    running = begin(tmp_path / "results")
    try:
        running.communicate(timeout=moment_s)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate(timeout=60)
    collected = whimbrel("gc")
    assert collected.returncode == 0, collected.stderr
    assert snapshot() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=600k", "small", place])
    try:
        yield place
    finally:
        run(["umount", place])


@pytest.mark.long
def test_results_on_a_full_disk(small_disk: Path) -> None:
    before = snapshot()
    (small_disk / "filler").write_bytes(bytes(500 * 1024))
    done = whimbrel("run", QUICK, *FAST, "--out", small_disk / "results")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    # A trial that was recorded before the room ended stays; half of one does not.
    assert not list((small_disk / "results").glob("trials/.*"))
    assert snapshot() == before


@pytest.mark.long
def test_images_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot()
    monkeypatch.setitem(ENVIRONMENT, "WHIMBREL_HOME", str(small_disk))
    done = whimbrel("run", QUICK, *FAST, "--out", small_disk / "results")
    assert done.returncode in (1, 3), done.stderr
    assert "disk space" in done.stderr or "No space left" in done.stderr
    assert not list((small_disk / "images").glob("*.partial"))
    monkeypatch.delitem(ENVIRONMENT, "WHIMBREL_HOME")
    assert snapshot() == before


# Root here once its users are known; programs get root's rights when they are started.
_WHEN_ROOT = 'until [ "$(id -u)" = 0 ]; do sleep 0.01; done; exec sh -c "$@"'


def lacking(preparation: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on a machine that lacks something, in mount and user namespaces of its own."""
    here = Path("/proc/self/ns/user").readlink()
    argv = ["unshare", "--user", "--mount", "sh", "-c", _WHEN_ROOT, "sh", f'{preparation}; exec "$@"', "sh",
            sys.executable, "-m", "whimbrel", *words]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as running:
        own = Path(f"/proc/{running.pid}/ns/user")
        wait_until(lambda: (None, "not yet") if own.readlink() == here else (True, ""), "its own users", Deadline(20))
        same_users(running.pid)
        stdout, stderr = running.communicate(timeout=120)
    return subprocess.CompletedProcess(argv, running.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("preparation", "said"),
    [("mount -t tmpfs none /dev/net", "/dev/net/tun is missing"),
     ("echo 0 >/proc/sys/user/max_net_namespaces", "network namespaces and veth")],
    ids=["no tun", "no free namespace"],
)  # fmt: skip
def test_a_machine_that_lacks_something_is_told_before_anything_is_made(preparation: str, said: str, tmp_path: Path) -> None:
    before = snapshot()
    examined = lacking(preparation, "doctor", "--json")
    assert examined.returncode == 3, examined.stderr
    missing = [finding for finding in json.loads(examined.stdout) if finding["needed"] and not finding["works"]]
    assert any(said in f"{finding['name']}: {finding['seen']}" for finding in missing), missing
    refused = lacking(preparation, "run", str(QUICK), "--out", str(tmp_path / "results"))
    assert refused.returncode == 3
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert snapshot() == before


@pytest.mark.long
def test_two_labs_at_once_do_not_know_of_each_other(tmp_path: Path) -> None:
    before = snapshot()
    both = [begin(tmp_path / name, "--set", f"lab.name={name}") for name in ("one", "other")]
    for running in both:
        _, stderr = running.communicate(timeout=300)
        assert running.returncode == 0, stderr
    assert snapshot() == before


@pytest.mark.long
@pytest.mark.parametrize("moment", ["at rest", "watching before", "writing the page"])
def test_ctrl_c_at_other_moments(moment: str, tmp_path: Path) -> None:
    before = snapshot()
    running = begin(tmp_path / "results")
    wait_for_word(running, moment)
    running.send_signal(2)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode in ((0, 130) if moment == "writing the page" else (130,)), stderr
    assert "Traceback" not in stderr
    assert snapshot() == before
