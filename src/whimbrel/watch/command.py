"""The command that makes the move: a user's own, in his terminal's foreground, whose output and exit code are kept."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.records.caller import writing_to
from whimbrel.system.ending import end_of
from whimbrel.system.process import Running, start_for_user
from whimbrel.trace_parent import TraceParent
from whimbrel.watch.plan import Ran, Turn, WatchPlan

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_READ_BYTES = 1 << 16
# So often it is looked whether there is more to pass on.
_LOOK_S = 0.05
# What the command has started may need a moment to end; who reads our output may stand still.
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
    """Raises our limit of descriptors as far as we may: each connection that is out needs one."""
    global _before_raised
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            _before_raised = soft


class Reserve:
    """Descriptors that are kept back while checks use up all others, so that the command can be started whatever they do."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def hold(self) -> None:
        """Holds as many as there are to be had, up to what a command needs."""
        with contextlib.suppress(OSError):
            while len(self._held) < _RESERVED:
                self._held.append(os.open(os.devnull, os.O_RDWR))

    def release(self) -> None:
        """Gives them back: what is opened next finds room."""
        while self._held:
            os.close(self._held.pop())


class WatchedCommand:
    """Started when it is made; what it prints is passed on at once, and kept where that was asked for.

    What it traces itself is within ``span``.
    """

    def __init__(self, plan: WatchPlan, turn: Turn, span: TraceParent | None = None) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        # Whatever the command starts has the other end too, unless it closes it: it tells whether something still runs.
        self._held, holding = os.pipe()
        streams = [_STDERR if plan.output_to_stderr else _STDOUT, _STDERR]
        folder = plan.keep_output_in
        name = turn.words if plan.several else "command"
        files = [folder / f"{name}.{end}" for end in ("stdout", "stderr")] if folder else []
        self._kept = [_Kept(file, stream, plan.show_output) for file, stream in zip(files, streams, strict=False)]
        stdout, stderr = [kept.writing for kept in self._kept] or streams
        command = plan.command_of(turn)
        if _before_raised is not None:
            command = ("sh", "-c", _WITH_LIMIT, "limit", str(_before_raised), *command)
        sys.stdout.flush()
        self.started_ns = time.monotonic_ns()
        try:
            env = {} if span is None else {"TRACEPARENT": str(span)}
            stdin = null if plan.marks_from_stdin else _STDIN
            self.running: Running = start_for_user(command, stdin=stdin, stdout=stdout, stderr=stderr, also=holding, env=env)
        finally:
            os.close(null)
            os.close(holding)

    async def end(self) -> Ran:
        """Waits for it, however long it takes."""
        ended_ns = await end_of(self.running)
        code = self.running.stop(ask=False)
        return Ran(code if code >= 0 else 128 - code, self.started_ns, ended_ns)

    def pass_on(self, number: signal.Signals) -> None:
        """A signal that we got is the command's first, unless its terminal has sent it to both of us."""
        if number != signal.SIGINT or not _from_terminal():
            self.running.signal(number)

    def finish(self) -> bool:
        """Passes on the rest of its output; False when something that it has started still runs."""
        for kept in self._kept:
            kept.finish()
        ended = bool(select.select([self._held], [], [], _REST_S)[0])
        os.close(self._held)
        return ended


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


class _Kept:
    """A file that the command writes into, and whose content goes on to one of our streams.

    It is no pipe: whatever becomes of us, a command that moves something can go on to write.
    """

    def __init__(self, file: Path, target: int, show: Callable[[bytes], None] | None) -> None:
        with writing_to(file.parent):
            self.writing = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._reading = os.open(file, os.O_RDONLY)
        self._target = target
        self._show = show if os.isatty(target) else None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pass on {file.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._pass_on()
        self._pass_on()

    def _pass_on(self) -> None:
        while data := os.read(self._reading, _READ_BYTES):
            # Nobody may read ours any more; the command need not know.
            with contextlib.suppress(OSError):
                if self._show is not None:
                    self._show(data)
                    continue
                while data:
                    data = data[os.write(self._target, data) :]

    def finish(self) -> None:
        """All that is there has been passed on when this returns, unless nobody takes it."""
        self._ended.set()
        self._thread.join(_REST_S)
        os.close(self.writing)
