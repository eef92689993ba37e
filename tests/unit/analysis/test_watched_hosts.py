from __future__ import annotations

import polars as pl
import pytest

from whimbrel.analysis.answers import Window
from whimbrel.analysis.watched_hosts import host_figures
from whimbrel.records.series import HOSTS_SCHEMA

S = 1_000_000_000
WINDOW = Window(10 * S, 20 * S, 30 * S, 40 * S)


def samples(seconds: list[int]) -> pl.DataFrame:
    """Half a core before the move, two in it, one after; 1000 bytes are sent a second; memory grows by 1 MiB a second."""
    rows = [
        {
            "t_ns": at * S, "subject": "me@a", "net_sent_bytes": 1000 * at, "memory_bytes": at << 20,
            "cpu_s": 0.5 * min(at, 20) + 2 * max(0, min(at, 30) - 20) + max(0, at - 30),
        }
        for at in seconds
    ]  # fmt: skip
    return pl.DataFrame([*rows, {"t_ns": 21 * S, "subject": "me@b", "cpu_s": 99.0}], schema=HOSTS_SCHEMA)


def test_figures_by_phase() -> None:
    found = host_figures("me@a", samples(list(range(5, 45))), WINDOW, 3)
    assert found.cpu_cores == pytest.approx({"before": 0.5, "during": 2, "after": 1})
    assert found.cpu_s == pytest.approx(20)
    assert (found.sent_bytes, found.received_bytes) == (10_000, None)
    assert found.memory_bytes == {"before": 20 << 20, "during": 30 << 20, "after": 40 << 20}
    assert found.holes_ns == []


def test_a_hole_in_the_move_leaves_its_figures_unknown() -> None:
    found = host_figures("me@a", samples([*range(5, 25), *range(29, 45)]), WINDOW, 3)
    assert found.holes_ns == [(24 * S, 29 * S)]
    assert (found.cpu_s, found.sent_bytes) == (None, None)
    assert found.cpu_cores["before"] == pytest.approx(0.5)
    # One afterwards leaves them.
    found = host_figures("me@a", samples(list(range(5, 35))), WINDOW, 3)
    assert found.holes_ns == [(34 * S, 40 * S)]
    assert found.cpu_s == pytest.approx(20)
    assert host_figures("me@c", samples([5]), WINDOW, 3).holes_ns == [(10 * S, 40 * S)]
