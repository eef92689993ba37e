"""The one door to other programs: logs a command that can be pasted into a shell, and reports failure with evidence."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from whimbrel.errors import CapabilityError, ToolError, UsageError

log = logging.getLogger(__name__)

_LAST_LINES = 15


@dataclass(frozen=True)
class Completed:
    """What a program that has ended left behind."""

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout_s: float | None = 600,
    env: Mapping[str, str] | None = None,
    cgroup_procs: Sequence[Path] = (),
) -> Completed:
    """Runs a program to its end; ToolError with its last words when ``check`` and it fails. ``cgroup_procs``: see ``start``."""
    argv = tuple(str(part) for part in (*joining(cgroup_procs), *command))
    log.debug("run: %s", shlex.join(argv))
    try:
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C in a terminal goes to all of its foreground: not to what is just clearing up for us.
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        # The second, too, when a folder of PATH may not be read.
        raise CapabilityError(
            f"the program {argv[0]!r} is not installed",
            resolution="start whimbrel through ./whimbrel, which installs it",
        ) from error
    stdout, stderr = _to_its_end(popen, stdin, timeout_s, argv)
    completed = Completed(argv, popen.returncode, stdout, stderr)
    if check and completed.exit_code != 0:
        raise ToolError(f"{argv[0]} failed with exit code {completed.exit_code}", details=_evidence(completed))
    return completed


def _to_its_end(popen: subprocess.Popen[str], stdin: str | None, timeout_s: float | None, argv: Sequence[str]) -> tuple[str, str]:
    """What it prints until it ends. On Ctrl-C, or when it takes too long, it is killed with all that it has started."""
    with popen:
        try:
            return popen.communicate(stdin, timeout_s)
        except BaseException as error:
            if popen.poll() is None:
                os.killpg(popen.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ToolError(f"{argv[0]} did not end within {timeout_s:.0f} s", details=shlex.join(argv)) from error
            raise


def _evidence(completed: Completed) -> str:
    words = (completed.stderr.strip() or completed.stdout.strip() or "it printed nothing").splitlines()[-_LAST_LINES:]
    return "\n".join([shlex.join(completed.command), *words])


class Running:
    """A child process, held by a pidfd so that a signal cannot reach another process that got its number."""

    def __init__(self, command: tuple[str, ...], popen: subprocess.Popen[bytes]) -> None:
        self.command = command
        self._popen = popen
        self._pidfd: int | None = os.pidfd_open(popen.pid)

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes]:
        """What the program prints, when it was started with ``stdout=True``."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    def tell(self, data: bytes) -> None:
        """Writes to its standard input, when it was started with ``stdin=True``; nothing happens when it has ended."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(data)
            self._popen.stdin.flush()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after ``timeout_s``."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens when the process has ended."""
        if self._pidfd is not None and self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def readable_when_ended(self) -> int:
        """A descriptor that becomes readable when it ends (pidfd_open(2)), to wait for it beside other things."""
        assert self._pidfd is not None
        return self._pidfd

    def kill_all(self) -> None:
        """Kills it and all that is in its session, where it has one of its own (``new_session``)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # While it has not been waited for, its number is nobody else's.
            os.killpg(self.pid, signal.SIGKILL)

    def stop(self, patience_s: float = 10.0, ask: bool = True) -> int:
        """Asks it to end (unless it was asked before), kills it when it does not, and returns its exit code."""
        if ask:
            self.signal(signal.SIGTERM)
        if self.wait(patience_s) is None:
            log.warning("%s (process %d) did not end on SIGTERM and is killed", self.command[0], self.pid)
            self.signal(signal.SIGKILL)
        code = self._popen.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                # What it was told last it may not have taken.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return code


# A shell joins the groups and becomes the program: Python must not run between fork and exec while it has threads.
_JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'


def joining(cgroup_procs: Sequence[Path]) -> list[str | Path]:
    """What to put before a command that joins these groups first; nothing for none."""
    return ["sh", "-c", _JOIN, "join", *cgroup_procs, "--"] if cgroup_procs else []


def start(
    command: Sequence[str | Path],
    *,
    stdin: bool = False,
    stdout: bool = False,
    log_file: Path | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = True,
    cgroup_procs: Sequence[Path] = (),
    pass_fds: Sequence[int] = (),
) -> Running:
    """Starts a program that goes on beside us.

    ``new_session`` keeps Ctrl-C in the terminal from reaching it: we stop it ourselves, in order. ``cgroup_procs`` are
    ``cgroup.procs`` files that the child writes itself into before the program starts, so nothing escapes. It has the
    descriptors ``pass_fds`` under the same numbers.
    """
    argv = tuple(str(part) for part in (*joining(cgroup_procs), *command))
    log.debug("start: %s", shlex.join(argv))
    errors: int | IO[Any] = log_file.open("ab") if log_file else subprocess.DEVNULL
    try:
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout else errors,
            stderr=errors,
            env={**os.environ, **env} if env else None,
            start_new_session=new_session,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise CapabilityError(f"the program {argv[0]!r} is not installed") from error
    finally:
        if not isinstance(errors, int):
            errors.close()
    return Running(argv, popen)


def children(program: str) -> set[ProcessId]:
    """The children of this process that run this program now."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        # One that ends meanwhile is none.
        with contextlib.suppress(OSError):
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            process = ProcessId.of(int(folder.name)) if name == program and int(rest.split()[1]) == os.getpid() else None
            if process is not None:
                found.add(process)
    return found


def start_for_user(command: Sequence[str], *, stdin: int, stdout: int, stderr: int, also: int, env: Mapping[str, str]) -> Running:
    """Starts a user's own program in the foreground of his terminal: Ctrl-C and his answers to its questions reach it.

    Its streams are these descriptors, and it has a further one, ``also``; ``env`` is added to its environment.
    UsageError when there is no such program.
    """
    argv = tuple(command)
    log.debug("start: %s", shlex.join(argv))
    try:
        popen = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=(also,), env={**os.environ, **env})
    except OSError as error:
        raise UsageError(f"{argv[0]}: {error.strerror or error}", resolution="the command comes after '--'") from error
    return Running(argv, popen)


@dataclass(frozen=True)
class ProcessId:
    """A process that may not be our child: its number and its start time, which together never repeat in one boot."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of the process that has this number now; None when there is none."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return ProcessId.of(self.pid) == self

    @property
    def pids_inside(self) -> tuple[int, ...]:
        """Its numbers in the PID namespaces within ours, outermost first; none when it is in ours, or has ended."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("NSpid:"):
                    return tuple(int(number) for number in line.split()[2:])
        return ()

    def kill(self, patience_s: float = 10.0) -> bool:
        """Kills it and waits; True when it has gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return bool(select.select([pidfd], [], [], patience_s)[0])
        finally:
            os.close(pidfd)
