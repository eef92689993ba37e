"""Connections to a libvirtd that is not there, or says nothing, and Ctrl-C in the middle of libvirt's own code."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from whimbrel.engines import libvirt as engine
from whimbrel.engines.binding import libvirt
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, SilentError
from whimbrel.system.deadline import pause
from whimbrel.system.process import ProcessId

# 'check --fast' works where nothing may be installed.
pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")


def uri_of(path: Path) -> str:
    return f"qemu+unix:///system?socket={path}"


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not connect"):
        Connection.open(uri_of(tmp_path / "nobody"))


def test_one_that_takes_the_call_and_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OPEN_S", 0.3)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(EngineError) as caught:
            Connection.open(uri_of(tmp_path / "silent"))
    assert "no answer within" in caught.value.details


class Interrupts:
    """A signal every half millisecond, of which the handler raises as that of Ctrl-C does: once each time that it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.count = 0

    def __call__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            self.count += 1
            raise KeyboardInterrupt


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    found = Interrupts()
    before = signal.signal(signal.SIGALRM, found)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    yield found
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# One that comes while an object is taken apart is only told of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_a_call_that_fails_stays_ctrl_c(interrupts: Interrupts, tmp_path: Path) -> None:
    nobody = uri_of(tmp_path / "nobody")
    with pytest.raises(SilentError):
        Connection.open(nobody)  # libvirt's event loop runs from here on
    while interrupts.count < 500:
        with contextlib.suppress(KeyboardInterrupt):
            interrupts.armed = True
            # A SystemError, where one comes of it, fails the test.
            while interrupts.armed:
                with contextlib.suppress(libvirt.libvirtError):
                    libvirt.open(nobody)
    assert interrupts.count == 500


# It waits for what never comes on its standard input, as ssh does on a host that takes the call and says nothing.
_SSH = "#!/bin/sh\necho $$ >>{pids}\nread nothing\n"


@pytest.fixture
def silent_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that connects to nothing; where it writes its process ids."""
    program, pids = tmp_path / "ssh", tmp_path / "pids"
    program.write_text(_SSH.format(pids=pids))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return pids


def _running(pids: Path) -> list[ProcessId]:
    found = [ProcessId.of(int(pid)) for pid in pids.read_text().split()]
    return [process for process in found if process is not None and process.alive]


def test_an_ssh_that_libvirt_has_started_ends_with_our_patience(silent_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OPEN_S", 1.5)
    with pytest.raises(SilentError, match="could not connect to qemu\\+ssh://nobody") as caught:
        Connection.open("qemu+ssh://nobody.invalid/system")
    assert caught.value.details == "no answer within 2 s"
    assert "'ssh -v' to that host" in caught.value.resolution
    assert silent_ssh.read_text().split()
    assert _running(silent_ssh) == []


def test_another_ssh_of_ours_goes_on(silent_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OPEN_S", 1.5)
    with subprocess.Popen(["ssh"], stdin=subprocess.PIPE) as other:
        while not silent_ssh.exists():
            pause(0.01)
        with pytest.raises(SilentError):
            Connection.open("qemu+ssh://nobody.invalid/system")
        assert [process.pid for process in _running(silent_ssh)] == [other.pid]
        other.communicate()


def test_a_host_that_refuses_is_said_with_the_cause_and_what_to_do() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(SilentError) as caught:
            Connection.open(f"qemu+tcp://127.0.0.1:{nobody.getsockname()[1]}/system")
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.cause == "that host answers, but nothing listens at that port"
    assert "Connection refused" in caught.value.details
