"""The memory of another process, read while it runs (proc_pid_mem(5)). Nothing of it is changed, and it is not stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from whimbrel.errors import ToolError

PAGE_BYTES = 4096
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw\S*([sp]) \S+ \S+ (\d+)")
# A page has an entry of eight bytes in proc_pid_pagemap(5), whose two highest bits say that it is in memory, or swapped out.
_ENTRY = np.dtype("<u8")
_TOUCHED = np.uint64(0b11 << 62)
# So many pages are read at once.
_RUN = 256


class ProcessMemory:
    """One mapping of a process, as pages numbered from 0; use as a context manager."""

    def __init__(self, pid: int, size_bytes: int) -> None:
        """The process's one writable mapping of just this size; ToolError when it has none, or several."""
        self._pid = pid
        self._from, self._own = _find(pid, size_bytes)
        self.pages = size_bytes // PAGE_BYTES
        self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY)

    def __enter__(self) -> ProcessMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def read(self, pages: Sequence[int], into: np.ndarray) -> None:
        """Reads these pages into the rows of ``into`` (pages x 4,096 bytes); ToolError when the process has ended."""
        rows = into.data.cast("B")
        try:
            for row, page in enumerate(pages):
                os.preadv(self._file, [rows[row * PAGE_BYTES : (row + 1) * PAGE_BYTES]], self._from + page * PAGE_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error

    def zeros(self) -> np.ndarray:
        """For every page whether it holds nothing but zeros, as booleans; ToolError when the process has ended.

        Pages that the process has never touched are known to be zeros, and not read. Some 0.3 s for each GiB of the others.
        """
        found = np.ones(self.pages, dtype=bool)
        touched = np.flatnonzero(self._touched())
        content = np.zeros((_RUN, PAGE_BYTES // _ENTRY.itemsize), dtype=_ENTRY)
        try:
            # Neighbours are read at once.
            for together in np.split(touched, np.flatnonzero(np.diff(touched) != 1) + 1):
                for begin in range(0, len(together), _RUN):
                    pages = together[begin : begin + _RUN]
                    part = content[: len(pages)]
                    if os.preadv(self._file, [part.data.cast("B")], self._from + int(pages[0]) * PAGE_BYTES) != part.nbytes:
                        raise OSError("not all of it was there")
                    found[pages] = np.logical_not(part.any(axis=1))
        except OSError as error:
            raise self._unreadable(error) from error
        return found

    def _touched(self) -> np.ndarray:
        """For every page whether it may hold something. One that is shared, or of a file, may without being in this mapping."""
        if not self._own:
            return np.ones(self.pages, dtype=bool)
        entries = np.zeros(self.pages, dtype=_ENTRY)
        try:
            file = os.open(f"/proc/{self._pid}/pagemap", os.O_RDONLY)
            try:
                if os.preadv(file, [entries.data.cast("B")], self._from // PAGE_BYTES * _ENTRY.itemsize) != entries.nbytes:
                    raise OSError("not all of its pagemap was there")
            finally:
                os.close(file)
        except OSError as error:
            raise self._unreadable(error) from error
        touched: np.ndarray = np.not_equal(entries & _TOUCHED, 0)
        return touched

    def _unreadable(self, error: OSError) -> ToolError:
        return ToolError(f"the memory of process {self._pid} cannot be read", details=str(error))


def _find(pid: int, size_bytes: int) -> tuple[int, bool]:
    """Where the mapping begins, and whether it is the process's own: private, and of no file."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError as error:
        raise ToolError(f"the mappings of process {pid} cannot be read", details=str(error)) from error
    found = []
    for line in lines:
        match = _MAPPING.match(line)
        if match is not None and int(match[2], 16) - int(match[1], 16) == size_bytes:
            found.append((int(match[1], 16), match[3] == "p" and match[4] == "0"))
    if len(found) != 1:
        raise ToolError(f"process {pid} has {len(found)} writable mappings of {size_bytes} bytes, where one was looked for")
    return found[0]
