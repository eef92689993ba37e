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
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw\S* \S+ \S+ (\d+)")


class ProcessMemory:
    """One mapping of a process, as pages numbered from 0; use as a context manager."""

    def __init__(self, pid: int, size_bytes: int) -> None:
        """The process's one writable mapping of just this size; ToolError when it has none, or several."""
        self._pid = pid
        self._from, self.pages = _find(pid, size_bytes), size_bytes // PAGE_BYTES
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
            raise ToolError(f"the memory of process {self._pid} cannot be read", details=str(error)) from error


def _find(pid: int, size_bytes: int) -> int:
    """Where the mapping begins."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError as error:
        raise ToolError(f"the mappings of process {pid} cannot be read", details=str(error)) from error
    found = []
    for line in lines:
        match = _MAPPING.match(line)
        if match is not None and int(match[2], 16) - int(match[1], 16) == size_bytes:
            found.append(int(match[1], 16))
    if len(found) != 1:
        raise ToolError(f"process {pid} has {len(found)} writable mappings of {size_bytes} bytes, where one was looked for")
    return found[0]
