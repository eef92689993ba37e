"""What is left of a move that is under way."""

from __future__ import annotations

import pytest

from whimbrel.predict.outlook import Outlook, Reading, outlook

MB = 1_000_000


def readings(rate: float, remaining: int, dirty_pages_per_s: int | None, seconds: float = 3.0) -> list[Reading]:
    """A look every 50 ms at a move of this rate, in bytes/s."""
    return [
        Reading(round(step * 0.05 * 1e9), round(step * 0.05 * rate), remaining, dirty_pages_per_s)
        for step in range(round(seconds / 0.05) + 1)
    ]


def test_what_is_left_shrinks_by_what_is_sent_less_what_is_dirtied() -> None:
    found = outlook(readings(20 * MB, 100 * MB, 5 * MB // 4096))
    assert found.left_s == pytest.approx(100 / 15, rel=0.01)
    assert found.converges


def test_it_does_not_converge_when_more_is_dirtied_than_sent() -> None:
    assert outlook(readings(20 * MB, 100 * MB, 21 * MB // 4096)) == Outlook(None, False)


def test_before_the_first_round_has_ended_nobody_knows_how_fast_memory_changes() -> None:
    found = outlook(readings(20 * MB, 100 * MB, 0))
    assert found.left_s == pytest.approx(5, rel=0.01)
    assert found.converges is None


def test_the_rate_is_that_of_the_last_second() -> None:
    quick = readings(100 * MB, 100 * MB, 0, seconds=2)
    slow = [
        Reading(quick[-1].t_ns + reading.t_ns, quick[-1].transferred_bytes + reading.transferred_bytes, 100 * MB, 0)
        for reading in readings(10 * MB, 100 * MB, 0, seconds=2)
        if quick[-1].transferred_bytes is not None and reading.transferred_bytes is not None
    ]
    found = outlook(quick + slow)
    assert found.left_s == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    "known", [[], [Reading(0, 0, 1, 0)], [Reading(0, None, 1, 0), Reading(1, None, 1, 0)], readings(0.0, 1, 0)]
)
def test_nothing_is_said_of_what_is_not_known(known: list[Reading]) -> None:
    assert outlook(known) == Outlook(None, None)
