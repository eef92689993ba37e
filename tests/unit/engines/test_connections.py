"""Connections to a libvirtd that is not there, or says nothing, and Ctrl-C in the middle of libvirt's own code."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from whimbrel.engines import libvirt as engine
from whimbrel.engines.binding import libvirt
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError

# 'check --fast' works where nothing may be installed.
pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")


def uri_of(path: Path) -> str:
    return f"qemu+unix:///system?socket={path}"


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not connect"):
        Connection.open(uri_of(tmp_path / "nobody"))


def test_one_that_takes_the_call_and_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_OPEN_S", 0.3)
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
    engine._EventLoop.ensure()
    nobody = uri_of(tmp_path / "nobody")
    while interrupts.count < 500:
        with contextlib.suppress(KeyboardInterrupt):
            interrupts.armed = True
            # A SystemError, where one comes of it, fails the test.
            while interrupts.armed:
                with contextlib.suppress(libvirt.libvirtError):
                    libvirt.open(nobody)
    assert interrupts.count == 500
