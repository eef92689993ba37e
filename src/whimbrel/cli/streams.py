"""Standard streams that nobody may be listening to: what is only said never changes what is done."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STDOUT, _STDERR = 1, 2
# What a pipe that can be written to takes without letting us wait (pipe(7), PIPE_BUF).
_AT_ONCE_BYTES = 4096
# A reader that takes nothing for so long (a stopped pager, Ctrl-S) is not waited for again until it does.
_PATIENCE_S = 1.0


def hold_streams() -> None:
    """Makes stdout and stderr such that whoever reads them may go, or stand still, at any time.

    To be called before any file is opened: one that got the number of a stream that was closed would hear our words.
    """
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _text(_Results(_STDOUT), sys.stdout)
    sys.stderr = _text(_Words(_STDERR), sys.stderr)


def say_at_once(text: str) -> None:
    """On stderr, past Python's buffers and without waiting: for signal handlers, and beside what is measured."""
    with contextlib.suppress(OSError):
        _put(_STDERR, text.encode(errors="backslashreplace"), 0.0)


class _Words(io.FileIO):
    """Progress and complaints: lost when nobody takes them."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._patience_s = _PATIENCE_S

    def write(self, data: Buffer, /) -> int:
        """All of it is done with when this returns, said or not."""
        size = memoryview(data).nbytes
        try:
            taken = _put(self.fileno(), data, self._patience_s)
        except OSError:
            return size
        self._patience_s = _PATIENCE_S if taken else 0.0
        return size


class _Results(io.FileIO):
    """Results: waited for while somebody takes them; lost when he has gone. OSError when a file has no room for them."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._may_hang_up = not stat.S_ISREG(os.fstat(descriptor).st_mode)

    def write(self, data: Buffer, /) -> int:
        """All of it is done with when this returns."""
        try:
            _put(self.fileno(), data, None)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError:
            # A terminal that was closed: EIO.
            if not (self._may_hang_up and _hung_up(self.fileno())):
                raise
        return memoryview(data).nbytes


def _hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def _put(descriptor: int, data: Buffer, patience_s: float | None) -> bool:
    """Writes it all; False when nothing was taken for so long. OSError when it cannot be written."""
    rest = memoryview(data).cast("B")
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while rest:
        if not poll.poll(None if patience_s is None else patience_s * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(descriptor, rest[:_AT_ONCE_BYTES]) :]
    return True


def _text(raw: io.FileIO, before: object) -> io.TextIOWrapper:
    """Text as Python would have made it."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    errors = "backslashreplace" if isinstance(raw, _Words) else getattr(before, "errors", None) or "strict"
    by_line = isinstance(raw, _Words) or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=by_line)
