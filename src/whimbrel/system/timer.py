"""A timer that is exact to some ten microseconds on an event loop, whose own are so to a millisecond (timerfd_create(2))."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from types import TracebackType

_CLOCK_MONOTONIC = 1
# TFD_NONBLOCK and TFD_CLOEXEC are O_NONBLOCK and O_CLOEXEC; TFD_TIMER_ABSTIME.
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


class _Moment(ctypes.Structure):
    """A moment as the kernel has it (``struct timespec``)."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    """A timer as the kernel has it (``struct itimerspec``)."""

    _fields_ = (("interval", _Moment), ("value", _Moment))


_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Waits for one moment at a time."""

    def __enter__(self) -> Timer:
        self._descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._rung = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._ring)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._rung.set()

    async def until(self, moment_ns: int) -> None:
        """Waits until that moment of the monotonic clock; returns at once when it is over."""
        if moment_ns <= time.monotonic_ns():
            return
        self._rung.clear()
        setting = _Setting(_Moment(0, 0), _Moment(*divmod(moment_ns, 1_000_000_000)))
        if _libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(setting), None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        await self._rung.wait()
