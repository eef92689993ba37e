"""The witness itself: what it says of its file from the first moment on, and when it starts again."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs import compiled
from whimbrel.observe.witness import Listener
from whimbrel.system.process import run

PAGES = 16
RECORD_BYTES = 32
SLOW_DISK = """
#include <unistd.h>
int fsync(int file) { usleep(300000); return fdatasync(file); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("witness", tmp_path_factory.mktemp("witness"))


@pytest.fixture(scope="module")
def slow_disk(program: Path) -> Path:
    """Loaded before a program, it makes its fsync(2) take 0.3 s: what a busy disk does, but each time."""
    source = program.with_name("slow.c")
    source.write_text(SLOW_DISK)
    run(["gcc", "-shared", "-fPIC", "-o", source.with_suffix(".so"), source])
    return source.with_suffix(".so")


@contextmanager
def running(program: Path, file: Path, preloaded: Path | None = None) -> Iterator[Listener]:
    """What is connected to a witness as soon as it can be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"LD_PRELOAD": str(preloaded)} if preloaded else {}
    with subprocess.Popen([program, str(port), str(PAGES), file], env=environment) as witness:
        listener = Listener("127.0.0.1", port)
        try:
            while not listener.connect():
                assert witness.poll() is None
            yield listener
        finally:
            witness.kill()


def asked(listener: Listener) -> dict[str, int]:
    verified = listener.verify()
    assert verified is not None
    assert verified["pages"] == PAGES
    assert verified["wrong"] == 0
    return verified


def test_its_file_is_there_whenever_it_can_be_asked(program: Path, slow_disk: Path, tmp_path: Path) -> None:
    with running(program, tmp_path / "file", slow_disk) as listener:
        said = asked(listener)
        assert said["started"] == 0
        assert 0 < said["file"] <= said["counter"]


def test_it_goes_on_from_its_file(program: Path, tmp_path: Path) -> None:
    with running(program, tmp_path / "file") as listener:
        before = asked(listener)
    with running(program, tmp_path / "file") as listener:
        after = asked(listener)
    assert after["started"] >= before["file"]
    assert after["counter"] > after["started"]
    assert after["file"] > after["started"]


def test_it_says_that_a_record_is_gone(program: Path, tmp_path: Path) -> None:
    with running(program, tmp_path / "file") as listener:
        assert asked(listener)["file"] > 0
        with (tmp_path / "file").open("r+b") as file:
            file.write(bytes(RECORD_BYTES))
        assert asked(listener)["file"] == 0
