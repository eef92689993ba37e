"""The figures of a trial whose service was only watched."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from whimbrel.analysis.watched import check_figures, watched_figures
from whimbrel.records.series import CHECKS_SCHEMA
from whimbrel.records.trial import Event, InstrumentCost

MS = 1_000_000


class Record:
    """What is looked at of a record: a move from second 4 to second 5 of a watch of 10 s, with two checks 20 times a second."""

    def __init__(self, moved: bool = True) -> None:
        told = [("watch begun", 0), ("watch ended", 10_000)]
        self.events = [
            Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=at * MS) for name, at in told
        ] + [
            Event(
                source="whimbrel", host=None, name="check", realtime_ns=None, seen_ns=0,
                data={"name": name, "kind": "http", "period_s": 0.05},
            )
            for name in ("a", "b")
        ]  # fmt: skip
        self.move = type("Move", (), {"called_ns": 4_000 * MS, "returned_ns": 5_000 * MS}) if moved else None
        self.instruments: list[InstrumentCost] = []


def checks(*gaps_ms: int) -> pl.DataFrame:
    """For each check a question every 50 ms, answered after 2 ms, but for a gap that begins at second 4."""
    rows: list[tuple[Any, ...]] = [
        (at, due * MS, due * MS, (due + 2) * MS, "refused" if 4_000 <= due < 4_000 + gap_ms else "good", None)
        for at, gap_ms in enumerate(gaps_ms)
        for due in range(0, 10_000, 50)
    ]
    return pl.DataFrame(rows, schema=CHECKS_SCHEMA, orient="row")


def figures(record: Record, series: pl.DataFrame | None) -> dict[str, Any]:
    return watched_figures(record, series)  # type: ignore[arg-type]


def test_the_gap_is_that_of_the_worst_check() -> None:
    found = figures(Record(), checks(300, 700))
    by_check = found.pop("checks")
    assert [(check.name, check.kind, check.sent, check.failed, check.failures) for check in by_check] == [
        ("a", "http", 200, 6, {"refused": 6}), ("b", "http", 200, 14, {"refused": 14}),
    ]  # fmt: skip
    assert [check.longest_gap_ms for check in by_check] == pytest.approx([350, 750])
    # A question that was refused took longer than any other: p95 falls among those.
    assert [(check.latency_p50_ms, check.latency_p95_ms) for check in by_check] == [(pytest.approx(2), None), (None, None)]
    assert found == {
        "service_gap_ms": pytest.approx(750), "service_gap_at_least_ms": None, "service_gap_usual_ms": pytest.approx(50),
    }  # fmt: skip
    each = check_figures(Record(), checks(300, 700))  # type: ignore[arg-type]
    assert [check.longest_gap_s for check in each] == pytest.approx([0.35, 0.75])


def test_one_that_never_came_back_leaves_it_unknown_with_a_bound() -> None:
    found = figures(Record(), checks(300, 6_000))
    assert found["service_gap_ms"] is None
    assert found["service_gap_at_least_ms"] == pytest.approx(10_000 - 3_952)


@pytest.mark.parametrize(("record", "series"), [(Record(moved=False), checks(300)), (Record(), None)])
def test_without_a_move_or_questions_there_are_none(record: Record, series: pl.DataFrame | None) -> None:
    assert figures(record, series) == {
        "service_gap_ms": None, "service_gap_at_least_ms": None, "service_gap_usual_ms": None, "checks": []
    }  # fmt: skip


def test_other_instruments_holes_are_none_of_the_checks() -> None:
    record = Record()
    record.instruments = [InstrumentCost(name="sampler", holes=[(4_100 * MS, 4_200 * MS)])]
    first = check_figures(record, checks(300, 700))[0]  # type: ignore[arg-type]
    record.instruments = [InstrumentCost(name="checks", holes=[(4_100 * MS, 4_290 * MS)])]
    held_up = check_figures(record, checks(300, 700))[0]  # type: ignore[arg-type]
    assert first.gap_resolution_s == pytest.approx(0.05)
    assert held_up.gap_resolution_s is not None
    assert held_up.gap_resolution_s > 0.15
