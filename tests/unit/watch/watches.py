"""A watch that was not made: questions as a test says them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import polars as pl

from whimbrel.analysis.answers import Window
from whimbrel.checks.url import parse_check
from whimbrel.records.series import CHECKS_SCHEMA
from whimbrel.watch.plan import Mark, Ran, Watched, WatchPlan

MS = 1_000_000
Row = tuple[float, float, float | None, str, str | None]


def good(from_ms: int, to_ms: int, address: str | None = None, late_ms: float = 0) -> list[Row]:
    """A good answer every 50 ms, after 2 ms."""
    return [(at, at + late_ms, at + late_ms + 2, "good", address) for at in range(from_ms, to_ms, 50)]


def watched(*checks: tuple[str, Sequence[Row]], **others: Any) -> Watched:
    """A watch of 10 s whose command ran from second 4 to second 5 and ended with 3."""
    content = [
        (position, round(due * MS), round(sent * MS), None if ended is None else round(ended * MS), outcome, address)
        for position, (_, rows) in enumerate(checks)
        for due, sent, ended, outcome, address in rows
    ]
    given = {
        "plan": WatchPlan(tuple(parse_check(url) for url, _ in checks), command=("mv", "a b")),
        "began_at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "window": Window(0, 4_000 * MS, 5_000 * MS, 10_000 * MS),
        "questions": pl.DataFrame(content, schema=CHECKS_SCHEMA, orient="row"),
        "ran": Ran(3, 4_000 * MS, 5_000 * MS),
        "marks": [Mark(4_500 * MS, "half-way")],
        "holes": [],
        "words": [{} for _ in checks],
        "notes": ["a note"],
    }
    return Watched(**{**given, **others})
