from __future__ import annotations

import json
import math
from typing import Any

import polars as pl
import pytest

from tests.unit.watch.watches import MS, Row, good, watched
from whimbrel.analysis.answers import Window
from whimbrel.checks.url import parse_check
from whimbrel.errors import UsageError
from whimbrel.records.series import PACKETS_SCHEMA
from whimbrel.watch.findings import as_json, findings_of
from whimbrel.watch.limits import parse_limit, ticks_of
from whimbrel.watch.plan import Watched
from whimbrel.watch.rows import columns_of, lines_of, timeline_rows

DARK: list[Row] = [(at, at, at + 1, "refused", None) for at in range(4_000, 4_500, 50)]
BROKEN = [*good(0, 4_000), (4_000, 4_000, 4_000, "lost", None), *DARK, *good(4_500, 10_000)]


def test_the_object_that_json_prints() -> None:
    found = json.loads(json.dumps(as_json(findings_of(watched(("http://a.example/#web", BROKEN))))))
    assert found["command"] == {"exit_code": 3, "started_s": 4.0, "ended_s": 5.0}
    assert (found["began_at"], found["watched_s"]) == ("2026-01-02T03:04:05.000+00:00", 10.0)
    assert (found["marks"], found["notes"]) == ([{"t_s": 4.5, "text": "half-way"}], ["a note"])
    [check] = found["checks"]
    assert {key: check[key] for key in ("name", "kind", "url", "sent", "failed", "failures", "connections_lost")} == {
        "name": "web", "kind": "http", "url": "http://a.example/", "sent": 200, "failed": 10, "failures": {"refused": 10},
        "connections_lost": 1,
    }  # fmt: skip
    assert (
        check["longest_gap_s"],
        check["longest_gap_from_s"],
        check["usual_gap_s"],
        check["gap_resolution_s"],
    ) == pytest.approx((0.55, 3.952, 0.05, 0.05))
    assert check["first_good_after_s"] == pytest.approx(0.002)
    assert check["latency_s"]["before"] == {
        "p50": pytest.approx(0.002),
        "p95": pytest.approx(0.002),
        "p99": None,
        "max": pytest.approx(0.002),
    }
    # Half of the questions during the command were refused: nobody can say within what time most were answered.
    assert check["latency_s"]["during"] == {"p50": None, "p95": None, "p99": None, "max": pytest.approx(0.002)}
    assert (check["gap_stands_out"], check["flags"]) == (True, [])
    assert check["disturbances"] == [{"from_s": pytest.approx(3.952), "to_s": pytest.approx(4.502)}]


def test_without_a_command_its_figures_are_not_known() -> None:
    found = as_json(
        findings_of(watched(("icmp:a.example", good(0, 10_000)), ran=None, window=Window(0, None, None, 10_000 * MS)))
    )
    assert found["command"] == {"exit_code": None, "started_s": None, "ended_s": None}


@pytest.mark.parametrize(
    ("rows", "words", "flag"),
    [
        (good(0, 10_000, late_ms=40), {}, "sent late, which is this machine's fault: p99 40 ms, longest 40 ms"),
        (
            [*good(0, 5_000), *((at, at, at, "not-sent", None) for at in range(5_000, 5_500, 50)), *good(5_500, 10_000)],
            {"not-sent": "Too many open files"},
            "10 questions were not sent, which is this machine's fault: Too many open files",
        ),
        ([*good(0, 9_900), (9_900, 9_900, None, "open", None)], {}, "1 question was not answered yet"),
        (
            [*good(0, 5_000, "10.0.0.1"), *good(5_000, 10_000, "10.0.0.2")],
            {},
            "several addresses answered: 10.0.0.1 from 0.002 s to 4.952 s, 10.0.0.2 from 5.002 s to 9.952 s",
        ),
    ],
)
def test_what_makes_figures_doubtful_is_said(rows: list[Row], words: dict[str, str], flag: str) -> None:
    findings = findings_of(watched(("http://a.example/", rows), words=[words]))
    assert any(flag in each for each in findings.flags[0]), findings.flags
    assert lines_of(findings, columns_of([findings]))[0][0] == "http://a.example/*"


def test_limits() -> None:
    checks = [("http://a.example/#web", BROKEN), ("icmp:b.example#host", good(0, 10_000))]
    given = watched(*checks)
    limits = [
        parse_limit(text, given.plan.checks)
        for text in (
            "longest_gap_s < 0.5", "web: failed <= 10", "host: failed_share <= 0.01", "latency_s.during.p50 < 0.1",
            "web: answers_per_s.after > 19",
        )
    ]  # fmt: skip
    assert [
        (tick.arm, tick.limit.words, tick.kept) for tick in ticks_of(limits, given.plan.checks, [findings_of(given).figures])
    ] == [
        ("web", "longest_gap_s < 0.5", False),
        ("host", "longest_gap_s < 0.5", True),
        ("web", "failed <= 10", True),
        ("host", "failed_share <= 0.01", True),
        # Not known is not kept.
        ("web", "latency_s.during.p50 < 0.1", False),
        ("host", "latency_s.during.p50 < 0.1", True),
        ("web", "answers_per_s.after > 19", True),
    ]


def test_a_limit_on_a_gap_that_had_not_ended_says_how_long_it_was_at_least() -> None:
    dark: list[Row] = [(at, at, at + 1, "refused", None) for at in range(9_000, 10_000, 50)]
    given = watched(("http://a.example/", [*good(0, 9_000), *dark]))
    limits = [parse_limit("longest_gap_s < 5", given.plan.checks)]
    [tick] = ticks_of(limits, given.plan.checks, [findings_of(given).figures])
    assert (tick.value, tick.kept, tick.reason) == (None, False, "it is at least 1.048")


def test_a_check_whose_name_is_a_url_has_limits_too() -> None:
    checks = [parse_check("http://a.example:80/x")]
    assert parse_limit("http://a.example:80/x: failed < 1", checks).name == "http://a.example:80/x"


@pytest.mark.parametrize("text", ["", "failed", "failed < x", "failed = 1", "p99 < 1", "x: failed < 1", "failed < 1 ms"])
def test_no_limit(text: str) -> None:
    with pytest.raises(UsageError):
        parse_limit(text, [parse_check("http://a.example/")])


def test_a_line_of_the_table() -> None:
    findings = findings_of(watched(("http://a.example/#web", BROKEN)))
    columns = columns_of([findings])
    [line] = lines_of(findings, columns)
    assert dict(zip(["check", *(column.heading for column in columns)], line, strict=True)) == {
        "check": "web", "longest gap": "550 ms", "known to": "50 ms", "usual gap": "50 ms", "failed": "10 of 200",
        "how": "refused 10", "connections lost": "1", "first good answer": "2 ms", "p50 before": "2 ms", "p50 during": "–",
        "p99 during": "–", "longest during": "2 ms", "p50 after": "2 ms",
    }  # fmt: skip


def stream_watch(**others: Any) -> Watched:
    """A stream that was silent from 4.5 s to 7 s, for a player that holds 1 s; and a check beside it."""
    came_ms = [at if not 4500 < at < 7000 else 7000 for at in range(0, 10_000, 50)]
    film = pl.DataFrame(
        [(0, 1, 0, at * 50, came * MS, 1000) for at, came in enumerate(came_ms)], schema=PACKETS_SCHEMA, orient="row"
    )
    heard: list[Row] = [(at, at, at, "heard", None) for at in came_ms]
    return watched(("rtmp://a.example/live/one#tv", heard), ("icmp:a.example#host", good(0, 10_000)), films={0: film}, **others)


def test_a_stream_gives_stalls_and_an_opinion() -> None:
    given = stream_watch()
    limits = [parse_limit(text, given.plan.checks) for text in ("stream.stalls <= 0", "tv: stream.stalling_mos > 3")]
    findings = findings_of(given)
    tv, host = json.loads(json.dumps(as_json(findings)))["checks"]
    assert host["stream"] is None
    assert tv["stream"] == {
        "buffer_s": 1.0, "startup_s": pytest.approx(1.0), "stalls": 1, "stalled_s": pytest.approx(1.5),
        "stalled_at_least_s": None, "stalled_at_end": False,
        "stalling_mos": pytest.approx(3.5 * math.exp(-(0.15 * 1.5 + 0.19)) + 1.5), "missing_segments": None, "missed_s": None,
        "moments": [{"from_s": pytest.approx(5.5), "to_s": pytest.approx(7.0)}],
    }  # fmt: skip
    columns = columns_of([findings], wide=False)
    lines = lines_of(findings, columns)
    at = [column.heading for column in columns].index("stalls") + 1
    assert [line[at : at + 2] for line in lines] == [["1, 1.5 s", "3.81"], ["–", "–"]]
    assert [(row["from_s"], row["to_s"]) for row in timeline_rows([findings]) if row["part"] == "stall"] == [(5.5, 7.0)]
    # A check that plays nothing has no stalls to be limited.
    assert [(tick.arm, tick.kept) for tick in ticks_of(limits, given.plan.checks, [findings.figures])] == [
        ("tv", False),
        ("tv", True),
    ]
    assert findings.flags == [[], []]


def test_a_stall_in_which_whimbrel_itself_stood_still_is_flagged() -> None:
    findings = findings_of(stream_watch(holes=[(6_000 * MS, 6_100 * MS)]))
    assert any("stood still in a stall" in flag for flag in findings.flags[0])
    assert findings.flags[1] == []


def test_the_timeline_says_the_worst_of_each_moment_and_stays_small() -> None:
    findings = findings_of(watched(("http://a.example/#web", BROKEN)))
    rows = timeline_rows([findings])
    assert {row["check"] for row in rows} == {"1 web"}
    failures = [row for row in rows if row["part"] == "failures"]
    assert sum(row["count"] for row in failures) == 11
    assert 3.9 < min(row["from_s"] for row in failures) <= max(row["to_s"] for row in failures) < 4.6
    [gap] = [row for row in rows if row["part"] == "gap"]
    assert (gap["from_s"], gap["to_s"]) == (3.952, 4.502)
    assert sum(row["count"] for row in rows if row["part"] == "answers") == 190
    long = findings_of(watched(("http://a.example/", [(at / 10, at / 10, at / 10 + 1, "good", None) for at in range(99_000)])))
    assert len(timeline_rows([long])) < 10
