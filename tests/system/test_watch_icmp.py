"""``icmp:`` as root, as a user who may ping, and as one who may not; in a namespace of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.users import without_root

SOURCE = str(Path(__file__).parents[2] / "src")
EVERYBODY, NOBODY = "0 2147483647", "1 0"


def watch(group_range: str, as_user: list[str], *checks: str) -> subprocess.CompletedProcess[str]:
    """Watches the loopback of a new namespace in which users of these groups may ping."""
    script = f"ip link set lo up; sysctl -qw net.ipv4.ping_group_range='{group_range}'; exec \"$@\""
    options = [word for check in checks for word in ("--check", check)]
    command = [*as_user, sys.executable, "-m", "whimbrel", "watch", "--json", "--for", "1s", *options]
    return subprocess.run(
        ["unshare", "--net", "sh", "-ec", script, "sh", *command],
        env={**os.environ, "PYTHONPATH": SOURCE, "HOME": "/nonexistent"}, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(("group_range", "user"), [(NOBODY, "root"), (EVERYBODY, "root"), (EVERYBODY, "other")])
def test_who_may_ping(group_range: str, user: str) -> None:
    done = watch(group_range, without_root() if user == "other" else [], "icmp:127.0.0.1#rate=100", "icmp:localhost#rate=50")
    assert done.returncode == 0, done.stderr
    for check, least in zip(json.loads(done.stdout)["checks"], (60, 30), strict=True):
        assert check["sent"] >= least
        assert check["failed"] == 0
        assert list(check["addresses"]) in (["127.0.0.1"], ["::1"])


def test_who_may_not_is_told_what_to_do() -> None:
    done = watch(NOBODY, without_root(), "icmp:127.0.0.1")
    assert done.returncode == 3
    assert "may not ping" in done.stderr
    assert "net.ipv4.ping_group_range" in done.stderr
    assert done.stdout == ""
