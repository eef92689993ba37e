"""The memory of another process, page by page."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from whimbrel.errors import ToolError
from whimbrel.system.process_memory import PAGE_BYTES, ProcessMemory

# A size that no other mapping is likely to have.
PAGES = 1237


@contextmanager
def mapped(pages: int, kind: int) -> Iterator[mmap.mmap]:
    """A mapping between two larger ones that are shared: of two private ones that touch, the kernel would make one."""
    with ExitStack() as stack:
        areas = [
            stack.enter_context(mmap.mmap(-1, size * PAGE_BYTES, flags=flags | mmap.MAP_ANONYMOUS))
            for size, flags in ((pages + 3, mmap.MAP_SHARED), (pages, kind), (pages + 4, mmap.MAP_SHARED))
        ]
        yield areas[1]


def test_pages_are_read_as_they_are() -> None:
    with mapped(PAGES, mmap.MAP_PRIVATE) as area:
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


@pytest.mark.parametrize("kind", [mmap.MAP_PRIVATE, mmap.MAP_SHARED])
def test_zeros_are_found_touched_or_not(kind: int) -> None:
    with mapped(PAGES + 1, kind) as area:
        for page in (*range(300, 900), PAGES):
            area[(page + 1) * PAGE_BYTES - 1] = 7
        # Written, and zeros nonetheless; one of them among pages that are read at once.
        area[PAGE_BYTES], area[400 * PAGE_BYTES + PAGE_BYTES - 1] = 0, 0
        with ProcessMemory(os.getpid(), (PAGES + 1) * PAGE_BYTES) as memory:
            zeros = memory.zeros()
    assert len(zeros) == PAGES + 1
    assert np.flatnonzero(~zeros).tolist() == [page for page in (*range(300, 900), PAGES) if page != 400]
