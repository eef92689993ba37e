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


def test_who_waits_for_an_answer_sends_what_is_corked_unless_the_connection_is_a_containers(library: Path) -> None:
    # As CRIU does: a few words, corked, and then recv(). The other side answers at once, so what it takes is the cork.
    script = """
import socket, threading, time
waiting = socket.create_server(('127.0.0.1', 0))
def answer():
    other, _ = waiting.accept()
    while other.recv(4):
        other.send(b'well')
for repaired in (0, 1):
    threading.Thread(target=answer, daemon=True).start()
    one = socket.create_connection(waiting.getsockname())
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    one.setsockopt(socket.IPPROTO_TCP, 19, repaired)
    if not repaired:
        one.send(b'word')
    try:
        one.recv(4)
    except PermissionError:
        pass  # What the kernel says to who reads from a connection under repair.
    print(*(one.getsockopt(socket.IPPROTO_TCP, name) for name in (socket.TCP_CORK, socket.TCP_NODELAY)))
"""
    assert said(library, script).splitlines() == ["1 1", "1 0"]
