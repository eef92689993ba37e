"""The memory of another process, page by page."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from whimbrel.errors import ToolError
from whimbrel.system.process_memory import PAGE_BYTES, ProcessMemory

# A size that no other mapping is likely to have.
PAGES = 1237


def test_pages_are_read_as_they_are() -> None:
    with mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        for page in (0, 5, PAGES - 1):
            area[page * PAGE_BYTES] = page % 251 + 1
        with ProcessMemory(os.getpid(), PAGES * PAGE_BYTES) as memory:
            assert memory.pages == PAGES
            into = np.zeros((4, PAGE_BYTES // 8), dtype=np.uint64)
            memory.read([0, 1, 5, PAGES - 1], into)
            assert [int(row.view(np.uint8)[0]) for row in into] == [1, 0, 6, (PAGES - 1) % 251 + 1]
            area[PAGE_BYTES] = 9
            memory.read([1], into[:1])
            assert into[0].view(np.uint8)[0] == 9


def test_a_mapping_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ToolError, match="0 writable mappings"):
        ProcessMemory(os.getpid(), 7 * 2**40)
    with pytest.raises(ToolError, match="cannot be read"):
        ProcessMemory(2**22 + 1, PAGE_BYTES)
