"""What a watch tells while it goes: each question once, and how each check is just now."""

from __future__ import annotations

import time

import pytest

from whimbrel.checks.check import Check
from whimbrel.checks.url import parse_check
from whimbrel.events import Bus, Published, Sample
from whimbrel.watch.log import CheckLog
from whimbrel.watch.telling import Telling

CHECKS = [parse_check("http://one.example/#one"), parse_check("http://two.example/#two")]


def tell(*logs: CheckLog, checks: list[Check] = CHECKS) -> tuple[Telling, Bus, list[Published]]:
    bus, got = Bus(), list[Published]()
    bus.subscribe("page", got.extend)
    return Telling(checks, logs, bus), bus, got


def values(got: list[Published]) -> list[dict[str, object]]:
    return [dict(each.values) for each in got if isinstance(each, Sample) and each.source == "checks"]


def test_each_question_is_told_once_with_its_latency() -> None:
    one, two = CheckLog(), CheckLog()
    told, bus, got = tell(one, two)
    now_ns = time.monotonic_ns()
    one.note(now_ns, now_ns, now_ns + 5_000_000, "good")
    one.note(now_ns, now_ns, now_ns + 9_000_000, "refused")
    told.tell()
    two.note(now_ns, now_ns, time.monotonic_ns() + 7_000_000, "good")
    told.tell()
    told.tell()
    bus.close()
    first, second, third = values(got)
    assert first["results"] == {"one": {"good": 1, "refused": 1}}
    assert first["latencies_s"] == {"one": [0.005]}
    assert first["states"] == {"one": "failed", "two": "good"}
    assert second["results"] == {"two": {"good": 1}}
    assert second["states"] == {"one": "good", "two": "good"}
    assert third["results"] == {}


def test_a_check_whose_question_is_long_out_is_silent() -> None:
    one, two = CheckLog(), CheckLog()
    told, bus, got = tell(one, two)
    now_ns = time.monotonic_ns()
    one.open[1] = now_ns - 400_000_000, now_ns - 400_000_000
    two.open[1] = now_ns - 1_000_000, now_ns
    told.tell()
    bus.close()
    assert values(got)[0]["states"] == {"one": "silent", "two": "good"}


def test_nothing_is_worked_out_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    log = CheckLog()
    log.note(1, 1, 2, "good")
    monkeypatch.setattr(CheckLog, "ended_since", lambda self, moment_ns: pytest.fail("asked"))
    Telling(CHECKS[:1], [log], Bus()).tell()
