"""Several moves of one watch: each as it would be alone, and all as a campaign takes its trials."""

from __future__ import annotations

import json

import pytest

from tests.unit.watch.watches import MS, Row, good, watched
from whimbrel.analysis.intervals import median_of
from whimbrel.watch.findings import Findings, findings_of
from whimbrel.watch.limits import parse_limit, ticks_of
from whimbrel.watch.plan import Ran, Turn, WatchPlan
from whimbrel.watch.several import counting, several_json, summaries
from whimbrel.watch.several_rows import several_columns, several_lines

GAPS_MS = [100, 250, 300, 400, 500, 700, 900]


def move(gap_ms: int | None, turn: Turn, code: int = 0) -> Findings:
    """A move of 1 s in which nothing was answered for so long; None: never again."""
    rows: list[Row] = good(0, 4_050)
    rows += [(at, at, at + 1, "refused", None) for at in range(4_050, 10_000 if gap_ms is None else 4_000 + gap_ms, 50)]
    rows += good(4_000 + gap_ms, 10_000) if gap_ms is not None else []
    plan = WatchPlan(watched(("http://a.example/#web", [])).plan.checks, ("mv", "a"), ("mv", "b"), repeat=7, warm_up=1)
    return findings_of(watched(("http://a.example/#web", rows), turn=turn, plan=plan, ran=Ran(code, 4_000 * MS, 5_000 * MS)))


def moves() -> list[Findings]:
    there = [move(gap_ms, Turn("there", number, number > 1)) for number, gap_ms in enumerate([5_000, *GAPS_MS], 1)]
    return [*there, move(200, Turn("back", 2, True)), move(None, Turn("back", 3, True)), move(4_500, Turn("back", 4, True), 1)]


def test_moves_that_count_are_taken_together_way_by_way() -> None:
    there, back = summaries(moves())
    assert (there.way, there.moves, back.way, back.moves) == ("there", 7, "back", 2)
    gap = there.checks[0]["longest_gap_s"]
    expected = median_of([gap_ms / 1e3 for gap_ms in GAPS_MS])
    assert expected.interval is not None
    assert (gap.known, gap.median, gap.least, gap.greatest) == pytest.approx((7, 0.4, 0.1, 0.9))
    assert gap.interval is not None
    assert (gap.interval.low, gap.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))
    assert there.took_s.median == 1
    # One that had not ended is none of the known, and leaves no interval.
    gap = back.checks[0]["longest_gap_s"]
    assert (gap.known, gap.unended, gap.interval) == (1, 1, None)
    assert gap.median == pytest.approx(0.2)
    assert gap.at_least == pytest.approx(5.998)
    assert "stream.stalls" not in there.checks[0]


def test_what_json_says_of_each_and_of_all() -> None:
    found = json.loads(json.dumps(several_json(moves())))
    assert [(each["way"], each["number"], each["counts"]) for each in found["moves"]] == [
        *(("there", number, number > 1) for number in range(1, 9)), ("back", 2, True), ("back", 3, True), ("back", 4, True),
    ]  # fmt: skip
    assert [each["checks"][0]["longest_gap_s"] for each in found["moves"][:2]] == pytest.approx([5.0, 0.1])
    assert found["command"]["exit_code"] == 1
    there = found["all"][0]
    assert (there["way"], there["moves"], there["took_s"]["median"]) == ("there", 7, 1)
    assert there["checks"][0]["name"] == "web"
    assert there["checks"][0]["longest_gap_s"] == {
        "known": 7, "median": pytest.approx(0.4), "interval": pytest.approx([0.1, 0.9]), "least": pytest.approx(0.1),
        "greatest": pytest.approx(0.9), "unended": 0, "at_least": None,
    }  # fmt: skip


def test_the_table_says_medians_with_what_bears_them() -> None:
    lines = several_lines(moves())
    at = several_columns(moves()).index("longest gap")
    assert [line[:2] for line in lines] == [["7 there", "web"], ["2 back", "web"]]
    assert lines[0][at] == "400 ms [100 ms to 900 ms]"
    assert lines[1][at] == "200 ms; 1 not ended, at least 6 s"


def test_of_several_moves_the_worst_is_held_to_a_limit() -> None:
    found = [each for each in moves() if each.watched.turn.way == "there"]
    checks = found[0].watched.plan.checks

    def tick(text: str, of: list[Findings]) -> tuple[float | None, bool]:
        [only] = ticks_of([parse_limit(text, checks)], checks, [each.figures for each in of])
        return only.value, only.kept

    assert len(counting(found)) == 7
    for text, worst_s, kept in (("< 1", 0.9, True), ("< 0.35", 0.9, False), ("> 0.2", 0.1, False)):
        found_s, was_kept = tick(f"longest_gap_s {text}", counting(found))
        assert (found_s, was_kept) == (pytest.approx(worst_s), kept)  # type: ignore[comparison-overlap]
    # One of which it is not known crosses it.
    assert tick("longest_gap_s < 100", [*counting(found), move(None, Turn())]) == (None, False)
