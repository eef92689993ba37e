"""``watch --host`` by a real sshd on loopback, with keys of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import running_service
from whimbrel.system.process import Running, start

PROJECT = Path(__file__).parents[2]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh-keygen") is None, reason="OpenSSH's server is not installed here"),
    pytest.mark.skipif(os.geteuid() == 0 and shutil.which("unshare") is None, reason="there is no unshare"),
]


def key(file: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[Running, Path]]:
    """It lets in who has our key; and a folder with an ``ssh`` that knows where it listens, and nothing of this user's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host_key, user_key = key(folder / "host_key"), key(folder / "user_key")
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {user_key}.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
    )
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    client = folder / "ssh_config"
    client.write_text(
        f"Host there\n HostName 127.0.0.1\n Port {port}\n IdentityFile {user_key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {known}\n"
    )
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(client))} "$@"\n')
    (programs / "ssh").chmod(0o755)
    assert SSHD is not None
    command = [SSHD, "-D", "-e", "-f", str(config)]
    if os.geteuid() == 0:
        # It wants a folder in /run, which is the machine's.
        command = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f"mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec {shlex.join(command)}",
        ]
    running = start(command, log_file=folder / "sshd.log")
    try:
        wait_until_it_listens(port)
        yield running, programs
    finally:
        running.kill_all()
        running.stop(1, ask=False)


def wait_until_it_listens(port: int) -> None:
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)


def test_a_host_is_sampled_by_ssh_and_again_after_its_connection_was_cut(tmp_path: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    with server(tmp_path) as (sshd, programs), running_service() as service:
        # The move keeps one processor busy, and cuts the connection: sshd's child is the server of it.
        busy = "import time; until = time.monotonic() + 5\nwhile time.monotonic() < until: pass"
        move = f"pkill -KILL -P {sshd.pid}; exec {shlex.quote(sys.executable)} -c {shlex.quote(busy)}"
        command = [
            sys.executable, "-m", "whimbrel", "watch", "--json", "--http", f"{service.url('http')}#rate=10", "--host",
            f"{user}@there", "--before", "3s", "--after", "4s", "--", "sh", "-c", move,
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=env, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, done.stderr + (tmp_path / "sshd.log").read_text()
        [host] = json.loads(done.stdout)["hosts"]
        assert host["name"] == f"{user}@there"
        assert host["cpu_cores"]["after"] is not None
        assert host["memory_bytes"]["before"] > 50 << 20
        said = (tmp_path / "sshd.log").read_text()
        assert said.count(f"Accepted publickey for {user}") >= 2, said
        # Nothing is left over there: the shell ended with its connection.
        time.sleep(1.5)
        assert subprocess.run(["pgrep", "-P", str(sshd.pid)], capture_output=True, check=False).stdout == b""


def test_who_is_not_let_in_is_told_before_the_command_is_started(tmp_path: Path) -> None:
    with server(tmp_path) as (_, programs), running_service() as service:
        (tmp_path / "user_key.pub").write_text("")
        moved = tmp_path / "moved"
        command = [
            sys.executable, "-m", "whimbrel", "watch", "--http", service.url("http"), "--host", "there", "--", "touch", str(moved)
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 2, done.stderr
        assert "Permission denied" in done.stderr
        assert not moved.exists()
