from __future__ import annotations

import pytest

from whimbrel.lab.lab import default_cpus


@pytest.mark.parametrize(
    ("member", "machine", "expected"),
    [("a", [0, 1], (0,)), ("b", [0, 1], (1,)), ("vantage", [0, 1], (0, 1)), ("a", [3], (3,)), ("b", [0, 1, 2, 3, 4], (2, 3, 4))],
)
def test_servers_get_halves_and_the_vantage_everything(member: str, machine: list[int], expected: tuple[int, ...]) -> None:
    assert default_cpus(member, machine) == expected
