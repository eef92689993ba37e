"""Signals count whether or not anybody hears what is said of them; what is said never changes what is done."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whimbrel.system.deadline import Deadline, wait_until

PROJECT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LISTENERS = ("open", "closed", "gone", "stuck")
STAGES = ("images", "rest", "moving", "clean-up")


class Command:
    """A process in a stage, and somebody who listens to its stderr, or does not."""

    def __init__(self, stage: str, listener: str, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        words = [sys.executable, "-m", "tests.stages", "stage", stage, str(folder)]
        if listener == "closed":
            words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT,
            env={**ENVIRONMENT, "WHIMBREL_HOME": str(folder / "home")},
        )  # fmt: skip
        assert self.process.stderr is not None
        if listener == "stuck":
            os.set_blocking(self.process.stderr.fileno(), False)
        self._listener = listener

    def come(self) -> None:
        """Until it is in its stage; then who listened goes, where he is to be gone."""
        self.wait_for("ready")
        if self._listener == "gone":
            assert self.process.stderr is not None
            self.process.stderr.close()
            time.sleep(0.1)
        elif self._listener == "stuck":
            # Its pipe is full, and nobody empties it.
            writer = os.open(f"/proc/{self.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
            try:
                while os.write(writer, b"x"):
                    pass
            except BlockingIOError:
                pass
            finally:
                os.close(writer)

    def wait_for(self, file: str) -> None:
        wait_until(lambda: ((self.folder / file).exists() or None, "not yet"), f"the file {file!r}", Deadline(300))

    def end(self) -> int:
        code = self.process.wait(120)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_each_stage_whoever_listens(stage: str, tmp_path: Path) -> None:
    # Each two of stage, signal and listener meet once at least; all three would take as many processes as three times that.
    turns = [SIGNALS[(STAGES.index(stage) + position) % len(SIGNALS)] for position in range(len(LISTENERS))]
    commands = {
        (number, listener): Command(stage, listener, tmp_path / f"{number.name}-{listener}")
        for number, listener in zip(turns, LISTENERS, strict=True)
    }
    try:
        for command in commands.values():
            command.come()
        for (number, _), command in commands.items():
            command.process.send_signal(number)
        if stage == "clean-up":
            # Which a first signal does not cut short.
            for command in commands.values():
                command.wait_for("told")
                (command.folder / "enough").touch()
        for which, command in commands.items():
            assert command.end() == 130, which
            assert (command.folder / "removed").exists() == (stage == "clean-up"), which
            assert (command.folder / "done").exists() == (stage == "clean-up"), which
            assert not (command.folder / "made").exists(), which
            assert not list((command.folder / "home").glob("images/image*")), which
            assert not list((command.folder / "home" / "ledger").glob("*.jsonl")), which
    finally:
        for command in commands.values():
            command.process.kill()


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_second_signal_ends_it_at_once_whoever_listens(listener: str, tmp_path: Path) -> None:
    command = Command("clean-up", listener, tmp_path / "one")
    try:
        command.come()
        command.process.send_signal(signal.SIGTERM)
        command.wait_for("told")
        command.process.send_signal(signal.SIGTERM)
        assert command.end() == 5
        assert not (command.folder / "removed").exists()
    finally:
        command.process.kill()


def test_ctrl_c_in_a_terminal_that_is_then_closed(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "tests.stages", "stage", "moving", str(tmp_path)],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=PROJECT, env={**ENVIRONMENT, "WHIMBREL_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    os.close(theirs)
    try:
        wait_until(lambda: ((tmp_path / "ready").exists() or None, "not yet"), "the stage", Deadline(300))
        os.close(ours)
        assert running.wait(120) == 130
        assert not (tmp_path / "made").exists()
        assert not (tmp_path / "done").exists()
    finally:
        running.kill()


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable], capture_output=True, text=True, timeout=60, cwd=PROJECT,
        env={**ENVIRONMENT, "WHIMBREL_HOME": "/nonexistent"},
    )  # fmt: skip


def test_results_that_find_no_room_are_an_error() -> None:
    done = shell('"$1" -m whimbrel schema scenario >/dev/full; echo $?')
    assert done.stdout == "1\n"
    assert "No space left on device" in done.stderr
    assert "Exception" not in done.stderr


def test_an_error_keeps_its_code_whoever_listens() -> None:
    bad = '"$1" -m whimbrel run absent.yaml'
    for how in ("2>&-", "2>&1 | true", ">&- 2>&-", "2>/dev/full", "<&- >&- 2>&-"):
        assert shell(f"{bad} {how}; exit ${{PIPESTATUS[0]}}").returncode == 2, how


def test_words_never_land_among_the_results_or_in_a_file() -> None:
    # With stderr closed Python prints to stdout what is meant for it, and the first file opened gets its number.
    done = shell('"$1" -m whimbrel run absent.yaml 2>&-')
    assert (done.stdout, done.stderr) == ("", "")
    listed = shell('"$1" -m whimbrel techniques --json 2>&-')
    assert json.loads(listed.stdout)
