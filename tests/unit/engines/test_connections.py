"""Connections to a libvirtd that is not there, or says nothing, and Ctrl-C in the middle of libvirt's own code."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from whimbrel.engines import libvirt as engine
from whimbrel.engines.binding import libvirt
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError


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


@contextmanager
def interrupted_every(seconds: float) -> Iterator[None]:
    """A signal again and again, of which the handler raises as that of Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_in_a_call_that_fails_stays_ctrl_c(tmp_path: Path) -> None:
    engine._EventLoop.ensure()
    nobody = uri_of(tmp_path / "nobody")
    interrupts = 0
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        try:
            with interrupted_every(0.0005):
                while True:
                    # A SystemError, where one comes of it, fails the test.
                    with pytest.raises(libvirt.libvirtError):
                        libvirt.open(nobody)
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts > 10
