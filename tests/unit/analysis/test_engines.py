"""A move as libvirt and QEMU saw it: cases counted by hand."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
import pytest

from whimbrel.analysis.engines import Seen, engine_figures
from whimbrel.records.series import HOSTS_SCHEMA, JOB_SCHEMA
from whimbrel.records.trial import ClockReading, Event

S, MS = 1_000_000_000, 1_000_000
# Our wall clock is that far ahead of the monotonic one.
WALL = 1_000 * S


def event(source: Literal["qemu", "libvirt", "whimbrel"], host: str | None, name: str, at_ms: float, **more: Any) -> Event:
    """At a moment of the monotonic clock; QEMU's stamped with its host's clock, which is ahead by ``ahead_ms``."""
    late_ms, ahead_ms = more.pop("late_ms", 0), more.pop("ahead_ms", 0)
    stamp = WALL + round((at_ms + ahead_ms) * MS) if source == "qemu" else None
    return Event(source=source, host=host, name=name, realtime_ns=stamp, seen_ns=round((at_ms + late_ms) * MS), data=more)


def events(b: dict[str, float]) -> list[Event]:
    """A pre-copy move from a to b; ``b`` is how late and how wrong b's stamps are."""
    return [
        event("whimbrel", None, "move called", 1_000),
        event("qemu", "b", "MIGRATION", 1_200, status="setup", **b),
        event("qemu", "a", "MIGRATION", 1_300, status="active"),
        event("qemu", "a", "MIGRATION_PASS", 1_310, **{"pass": 1}),
        event("qemu", "a", "MIGRATION_PASS", 2_310, **{"pass": 2}),
        event("qemu", "a", "STOP", 3_000),
        event("qemu", "b", "RESUME", 3_150, **b),
        event("qemu", "b", "MIGRATION", 3_140, status="completed", **b),
        event("libvirt", "a", "stopped", 3_300),
    ]


def seen(b: dict[str, float] | None = None, **others: Any) -> Seen:
    job = [{"t_ns": at * MS, "transferred_bytes": sent} for at, sent in ((1_500, 5_000), (2_300, 9_000), (2_900, 10_000))]
    cpu = [{"t_ns": at * S, "subject": host, "cpu_s": at * rate} for host, rate in (("a", 0.5), ("b", 0.25)) for at in range(6)]
    given: dict[str, Any] = {
        "source": "a", "destination": "b", "events": events(b or {}), "job": pl.DataFrame(job, schema=JOB_SCHEMA),
        "hosts": pl.DataFrame(cpu, schema=HOSTS_SCHEMA), "completed": {"downtime": 140, "memory_processed": 10_500},
        "clock_before": ClockReading(realtime_ns=WALL, monotonic_ns=0, error_ns=1_000),
        "clock_after": ClockReading(realtime_ns=WALL + 5 * S, monotonic_ns=5 * S, error_ns=1_000), "round_trips_ns": {},
    }  # fmt: skip
    return Seen(**{**given, **others})


ANSWERS = [[2_900 * MS, 3_180 * MS, 3_200 * MS], [2_950 * MS, 3_250 * MS]]


def test_phases_rounds_and_figures() -> None:
    found = engine_figures(seen(), (1 * S, 4 * S), ANSWERS)
    names = ["reservation", "pre-copy", "stop-and-copy", "commitment", "activation"]
    assert [phase.name for phase in found.phases] == names
    # Active from RESUME on until each check has had an answer.
    assert [phase.length_s for phase in found.phases] == pytest.approx([0.2, 1.7, 0.15, 0.16, 0.1])
    assert [(each.number, each.transferred_bytes) for each in found.rounds] == [(1, 9_000), (2, 1_000)]
    assert (found.libvirt_downtime_ms, found.transferred_bytes) == (140, 10_500)
    assert found.blackout_ms == pytest.approx(150)
    assert found.source_cpu_s == pytest.approx(1.5)
    assert found.destination_cpu_s == pytest.approx(0.75)
    assert found.clock_error_ms == pytest.approx(0.001)


def test_another_hosts_clock_is_brought_onto_ours() -> None:
    # b is 7.25 s ahead; what it says comes 1 ms later, a round trip takes 2 ms.
    given = seen({"ahead_ms": 7_250.0, "late_ms": 1.0}, round_trips_ns={"b": 2 * MS})
    found = engine_figures(given, (1 * S, 4 * S), ANSWERS)
    assert found.blackout_ms == pytest.approx(150)
    assert found.clock_error_ms == pytest.approx(1.001)


def test_a_guest_that_was_not_moved_has_no_phases() -> None:
    found = engine_figures(seen(destination=None, events=events({})[:1], completed=None), (1 * S, 4 * S), ANSWERS)
    assert (found.destination, found.blackout_ms, found.libvirt_downtime_ms, found.transferred_bytes) == (None, None, None, None)
    assert all(phase.length_s is None for phase in found.phases)
    assert found.destination_cpu_s is None


def test_a_check_without_an_answer_leaves_the_activation_open() -> None:
    found = engine_figures(seen(), (1 * S, 4 * S), [ANSWERS[0], [2_950 * MS]])
    assert found.phases[-1].to_ns is None
