"""A program that works for us on a server, and does not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.saboteur import processes
from whimbrel.cli.lab import gc
from whimbrel.errors import ToolError
from whimbrel.lab.attended import attended
from whimbrel.lab.lab import Lab
from whimbrel.system.deadline import Deadline, wait_until

SOURCES = Path(__file__).parents[2] / "src"
ASLEEP = ["sleep", "300"]
ATTENDS = """\
import sys
from whimbrel.lab.attended import attended
from whimbrel.system.deadline import pause

class Server:
    def command(self, argv):
        return [*sys.argv[1:], *argv]

with attended(Server(), ["sleep", "300"]):
    pause(300)
"""


def sleeps(lab: Lab) -> bool:
    return processes(lab, "a", "sleep") != []


def wait_for_its_start(lab: Lab) -> None:
    wait_until(lambda: (True, "") if sleeps(lab) else (None, "not yet"), "a program on server a", Deadline(20))


def test_it_runs_inside_and_ends_with_the_block(lab: Lab) -> None:
    with attended(lab.hosts["a"], ASLEEP) as program:
        wait_for_its_start(lab)
        assert not program.ended(0)
    assert not sleeps(lab)


def test_it_ends_with_a_block_that_failed(lab: Lab) -> None:
    def interrupted() -> None:
        with attended(lab.hosts["a"], ASLEEP):
            wait_for_its_start(lab)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not sleeps(lab)


def test_it_may_end_by_itself(lab: Lab) -> None:
    with attended(lab.hosts["a"], ["sleep", "0.5"]) as program:
        assert program.ended(0) is False
        assert program.ended(10) is True


def test_its_last_words_are_said_when_it_fails(lab: Lab) -> None:
    with attended(lab.hosts["a"], ["qemu-img", "info", "/srv/own/nothing"]) as program, pytest.raises(ToolError) as caught:
        program.ended(10)
    assert "qemu-img failed with exit code 1" in caught.value.brief
    assert "/srv/own/nothing" in caught.value.details


def test_it_ends_when_we_are_killed(lab: Lab) -> None:
    words = [sys.executable, "-c", ATTENDS, *lab.hosts["a"].command([])]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(SOURCES)}) as us:
        try:
            wait_for_its_start(lab)
        finally:
            us.send_signal(signal.SIGKILL)
    wait_until(lambda: (None, "it sleeps") if sleeps(lab) else (True, ""), "its end", Deadline(10))
    assert us.returncode == -signal.SIGKILL
    assert not sleeps(lab)
    # Its folder stays, until somebody cleans up.
    gc()
