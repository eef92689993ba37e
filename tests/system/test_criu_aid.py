"""The library for CRIU answers what this kernel may refuse, and changes nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from whimbrel.images import build
from whimbrel.images.recipes import criu_aid


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("library")
    build.library(criu_aid(), out)
    return out / "criu-aid.so"


def said(library: Path, script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"LD_PRELOAD": str(library)}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_socket_that_cannot_pass_credentials_says_that_it_does_not(library: Path) -> None:
    options = "print(*(socket.socket(family).getsockopt(socket.SOL_SOCKET, name) for name in (16, 34)))"
    assert said(library, f"import socket; family = socket.AF_INET; {options}") == "0 0"


def test_one_that_can_is_asked_and_a_wrong_question_stays_one(library: Path) -> None:
    script = """
import errno, socket
one = socket.socket(socket.AF_UNIX)
one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
print(one.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED))
try:
    one.getsockopt(socket.SOL_SOCKET, 9999)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    assert said(library, script).split() == ["1", "ENOPROTOOPT"]


def test_a_pipe_grows_as_far_as_it_may_and_then_no_further(library: Path) -> None:
    script = """
import fcntl, os
limit = int(open('/proc/sys/fs/pipe-max-size').read())
end = os.pipe()[0]
print(fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 3 * limit) >= limit)
end = os.pipe()[0]
fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, limit)
try:
    print(fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 2 * limit) >= 2 * limit)
except PermissionError:
    print(fcntl.fcntl(end, fcntl.F_GETPIPE_SZ) == limit)
print(fcntl.fcntl(end, fcntl.F_GETFD) == fcntl.FD_CLOEXEC)
"""
    assert said(library, script).split() == ["True"] * 3


def test_what_criu_sends_itself_goes_at_once_and_a_containers_socket_keeps_its_cork(library: Path) -> None:
    script = """
import socket
waiting = socket.create_server(('127.0.0.1', 0))
for repaired in (0, 1):
    one = socket.create_connection(waiting.getsockname())
    one.setsockopt(socket.IPPROTO_TCP, 19, repaired)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    print(*(one.getsockopt(socket.IPPROTO_TCP, name) for name in (socket.TCP_CORK, socket.TCP_NODELAY)))
waiting.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
print(*(waiting.getsockopt(socket.IPPROTO_TCP, name) for name in (socket.TCP_CORK, socket.TCP_NODELAY)))
"""
    assert said(library, script).splitlines() == ["0 1", "1 0", "1 0"]
