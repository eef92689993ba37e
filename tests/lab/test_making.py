"""Images and saved states are made by two processes at a time; whatever ends the first, the second leaves nothing either."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.test_command_line import ENVIRONMENT, FAST, wait_for_word, whimbrel
from tests.labs import QUICK
from tests.snapshot import snapshot
from whimbrel.images.store import ImageStore
from whimbrel.moves.making import made_beside
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.ledger import Ledger, all_ledgers
from whimbrel.system.process import ProcessId

# Later words on the command line count: two scenarios of one form, so that nothing but their states is to be made.
RUN: list[str | Path] = ["run", QUICK, *FAST, "--only", "baseline"]
_STATES, _IMAGES = "state-*", "film-*"


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A store of its own, with all that the usual one has but for what the test's parameter names."""
    usual = ImageStore().folder
    home = tmp_path / "home"
    (home / "images").mkdir(parents=True)
    for image in usual.glob("[!.]*-*"):
        if not any(image.match(pattern) for pattern in request.param):
            # Links where that can be: nothing writes into an image.
            link = subprocess.run(["cp", "-al", str(image), str(home / "images")], capture_output=True)
            if link.returncode != 0:
                shutil.copytree(image, home / "images" / image.name, symlinks=True, dirs_exist_ok=True)
    if (usual.parent / "kvm.json").exists():
        shutil.copy(usual.parent / "kvm.json", home)
    monkeypatch.setenv("WHIMBREL_HOME", str(home))
    monkeypatch.setitem(ENVIRONMENT, "WHIMBREL_HOME", str(home))
    return home


@contextmanager
def begun(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command that is ended in order when the test fails."""
    command = [sys.executable, "-m", "whimbrel", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
            running.communicate(timeout=120)


def second_of(first_pid: int) -> ProcessId | None:
    """The process that makes beside this one; what it has just forked looks the same, and has another parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == first_pid and b"whimbrel.moves.beside" in (folder / "cmdline").read_bytes().split(b"\0"):
                return ProcessId.of(int(folder.name))
    return None


def left_in(home: Path) -> set[str]:
    made = {path.name for path in (home / "images").glob("*.partial")} | {path.name for path in (home / "labs").glob("*")}
    return made | {str(entry) for ledger in all_ledgers() for entry in ledger.entries}


@pytest.mark.parametrize(
    ("without", "word"),
    [((_STATES,), "beside: making saved state"), ((_IMAGES, "disk-*"), "beside: making")],
    indirect=["without"],
    ids=["states", "images"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupt_ends_both(without: Path, word: str, number: signal.Signals, tmp_path: Path) -> None:
    there = {path.name for path in (without / "images").iterdir()}
    with begun(*RUN, "--out", tmp_path / "results") as running:
        wait_for_word(running, word)
        second = second_of(running.pid)
        assert second is not None
        running.send_signal(number)
        _, stderr = running.communicate(timeout=120)
    assert running.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not second.alive
    assert left_in(without) == set()
    assert {path.name for path in (without / "images").glob("[!.]*")} == there


@pytest.mark.parametrize("without", [(_STATES,)], indirect=True)
def test_the_second_ends_by_itself_when_the_first_is_killed(without: Path, tmp_path: Path) -> None:
    before = snapshot()
    with begun(*RUN, "--out", tmp_path / "results") as running:
        wait_for_word(running, "beside: making saved state")
        second = second_of(running.pid)
        assert second is not None
        running.kill()
        running.communicate(timeout=60)
    wait_until(lambda: (not second.alive or None, "it lives"), "the second process to end", Deadline(60))
    # The lab of the first is there still; of the second nothing is.
    assert not [ledger.name for ledger in all_ledgers() if ledger.name == "lab-byhand-beside" and ledger.entries]
    assert whimbrel("gc").returncode == 0
    assert left_in(without) == set()
    assert snapshot() == before


@pytest.mark.long
@pytest.mark.parametrize("without", [(_STATES,)], indirect=True)
def test_the_first_goes_on_alone_when_the_second_is_killed_and_resumes_when_it_was_killed_itself(
    without: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with begun(*RUN, "--out", folder) as running:
        wait_for_word(running, "beside: making saved state")
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=120)
    assert running.returncode == 130
    with begun("run", "--resume", folder) as resumed:
        wait_for_word(resumed, "beside: making saved state")
        second = second_of(resumed.pid)
        assert second is not None
        assert second.kill()
        _, stderr = resumed.communicate(timeout=800)
    assert resumed.returncode == 0, stderr
    assert "what made states beside has failed, and all of them were made here" in stderr
    assert len(list((without / "images").glob("state-vm-*"))) == 2
    assert len(list((folder / "trials").glob("0*"))) == 2
    assert left_in(without) == set()


def test_what_became_of_the_second_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    told: list[str] = []
    with Ledger("second") as ledger:
        # Without a lab it can make no states.
        with made_beside("states", [], ledger, None, told.append):
            second = second_of(os.getpid())
            assert second is not None
            wait_until(lambda: (not second.alive or None, "it lives"), "the second process to end", Deadline(60))
        with made_beside("images", [], ledger, None, told.append):
            pass
    [words] = told
    assert words.startswith("what made states beside has failed, and all of them were made here: ")
    assert "LabSpec" in words
    assert left_in(tmp_path) == set()
