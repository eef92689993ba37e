from __future__ import annotations

from typing import Any

import pytest

from whimbrel.errors import GuestError
from whimbrel.guests.in_cells import memory_bytes


class Shell:
    """An inside whose control group's processes say this."""

    def __init__(self, said: str) -> None:
        self._said = said

    def run(self, command: list[str], *, timeout_s: float) -> str:
        assert "container_memory" in command
        return self._said


def test_memory_is_the_sum_of_shares() -> None:
    inside: Any = Shell("Rss: 100 kB\nPss:                  24 kB\nPss_Anon: 20 kB\nRss: 9 kB\nPss:                   8 kB\n")
    assert memory_bytes(inside) == 32 * 1024


def test_memory_that_nobody_told_is_not_0() -> None:
    inside: Any = Shell("")
    with pytest.raises(GuestError, match="cannot be read"):
        memory_bytes(inside)
