"""The command that makes the move: a user's own, in his terminal's foreground, whose output and exit code are kept."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.records.caller import writing_to
from whimbrel.system.ending import end_of
from whimbrel.system.process import Running, start_for_user
from whimbrel.watch.plan import Ran, WatchPlan

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_READ_BYTES = 1 << 16
# What the command has left running may hold its output for ever.
_REST_S = 0.5
# A command takes its streams, what starts it reports errors through, and what tells of its end.
_RESERVED = 16
# We may take more descriptors than is usual (see ``raise_descriptor_limit``); the command gets what it would have had.
_WITH_LIMIT = 'ulimit -Sn "$1" && shift && exec "$@"'


def need_command(command: tuple[str, ...]) -> None:
    """UsageError when there is no such program: to be said before anything is watched."""
    if not command[0].strip() or shutil.which(command[0]) is None:
        raise UsageError(
            f"there is no program {command[0]!r}, or it may not be run",
            resolution="the command comes after '--': whimbrel watch --http URL -- virsh migrate ...",
        )


_before_raised: int | None = None


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: each connection that is out needs one."""
    global _before_raised
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            _before_raised = soft


class Reserve:
    """Descriptors that are kept back while checks use up all others, so that the command can be started whatever they do."""

    def __init__(self) -> None:
        self._held = [os.open(os.devnull, os.O_RDWR) for _ in range(_RESERVED)]

    def release(self) -> None:
        """Gives them back: what is opened next finds room."""
        while self._held:
            os.close(self._held.pop())


class WatchedCommand:
    """Started when it is made; what it prints is passed on at once, and kept where that was asked for."""

    def __init__(self, plan: WatchPlan) -> None:
        self._streams: list[_PassedOn] = []
        targets = {"stdout": _STDERR if plan.output_to_stderr else _STDOUT, "stderr": _STDERR}
        if plan.keep_output_in is not None:
            for name, target in targets.items():
                self._streams.append(_PassedOn(target, plan.keep_output_in / f"command.{name}"))
            given = [stream.writing for stream in self._streams]
        else:
            given = list(targets.values())
        null = os.open(os.devnull, os.O_RDWR)
        command = plan.command
        if _before_raised is not None:
            command = ("sh", "-c", _WITH_LIMIT, "limit", str(_before_raised), *command)
        sys.stdout.flush()
        self.started_ns = time.monotonic_ns()
        try:
            self.running: Running = start_for_user(
                command, stdin=null if plan.marks_from_stdin else _STDIN, stdout=given[0], stderr=given[1]
            )
        finally:
            os.close(null)
            for stream in self._streams:
                stream.started()

    async def end(self) -> Ran:
        """Waits for it, however long it takes."""
        ended_ns = await end_of(self.running)
        code = self.running.stop(ask=False)
        return Ran(code if code >= 0 else 128 - code, self.started_ns, ended_ns)

    def pass_on(self, number: signal.Signals) -> None:
        """A signal that we got is the command's first, unless its terminal has sent it to both of us."""
        if number != signal.SIGINT or not _from_terminal():
            self.running.signal(number)

    def finish_output(self) -> bool:
        """Waits for the rest of its output; False when something it has started holds it open."""
        finished = [stream.finish() for stream in self._streams]
        return all(finished)


def _from_terminal() -> bool:
    """Whether we are in the foreground of a terminal: then its Ctrl-C has gone to the command as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class _PassedOn:
    """A pipe whose content goes on to one of our streams, and into a file."""

    def __init__(self, target: int, file: Path) -> None:
        self._reading, self.writing = os.pipe()
        self._target = target
        with writing_to(file.parent):
            self._file = file.open("wb", buffering=0)
        self._thread = threading.Thread(target=self._run, name=f"pass on {file.name}", daemon=True)

    def started(self) -> None:
        os.close(self.writing)
        self._thread.start()

    def _run(self) -> None:
        heard = True
        while data := os.read(self._reading, _READ_BYTES):
            with contextlib.suppress(OSError):
                self._file.write(data)
            try:
                while heard and data:
                    data = data[os.write(self._target, data) :]
            except OSError:
                # Nobody reads ours any more; the command need not know.
                heard = False

    def finish(self) -> bool:
        self._thread.join(_REST_S)
        if self._thread.is_alive():
            return False
        os.close(self._reading)
        self._file.close()
        return True
