"""From records to verdicts: campaigns with known truth."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.campaigns import Synthetic
from whimbrel.analysis.evidence import Evidence
from whimbrel.records.trial import Plan
from whimbrel.report.charts import timeline_chart
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of, write_tables
from whimbrel.report.junit import write_junit
from whimbrel.report.layout import write_page
from whimbrel.report.load import load_trials

FACTOR = {"quick": 1.0, "slow": 1.25, "same": 1.0}


def drifting(plan: Plan) -> float:
    """Ten seconds on a machine that slows down by a tenth, with noise of 1 % and the arm's factor."""
    noise = random.Random(plan.order).gauss(0, 0.01)
    return 10 * FACTOR[plan.arm] * (1 + 0.1 * plan.order / 27) * math.exp(noise)


def evidence(synthetic: Synthetic, folder: Path) -> Evidence:
    found = build_report(synthetic.write(folder)).evidence
    assert found is not None
    return found


def test_what_differs_is_found_and_what_is_alike_is_shown_to_be(tmp_path: Path) -> None:
    found = evidence(Synthetic(drifting, blocks=12), tmp_path / "c")
    nesting, nothing = (finding.verdict for finding in found.findings)
    assert nesting.different
    assert nesting.ratio.interval is not None
    assert nesting.ratio.interval.low < 1.25 < nesting.ratio.interval.high
    assert not nesting.equivalent
    assert nothing.equivalent
    assert not nothing.different
    assert found.words[0].startswith("Nesting is slower – nesting: different; ratio 1.2")
    assert found.undone == []


def test_no_verdict_before_the_promised_n(tmp_path: Path) -> None:
    found = evidence(Synthetic(drifting, blocks=8, made=3 + 7 * 3 + 2), tmp_path / "c")
    assert (found.blocks, found.complete, found.findings) == (7, False, [])
    assert found.words == ["No verdict: 7 of 8 blocks are made, and the tests are made when all are."]


def test_a_block_with_a_spoilt_trial_does_not_count_and_is_told(tmp_path: Path) -> None:
    campaign = Synthetic(drifting, blocks=8, slow_link={5}).write(tmp_path / "c")
    report = build_report(campaign)
    assert report.evidence is not None
    assert report.evidence.blocks == 7
    assert list(report.evidence.spoilt) == [1]
    assert "at rest the link gave 50% of its rate" in report.evidence.spoilt[1][0]
    assert any("was spoilt" in line for line in report.problems)
    assert sum(arm.trials for arm in report.arms) == 21
    assert report.evidence.words[0].startswith("No verdict: 7 of 8 blocks are made (1 more were spoilt)")


def test_limits_are_ticked_for_each_arm(tmp_path: Path) -> None:
    report = build_report(Synthetic(lambda plan: 10.0 * FACTOR[plan.arm], blocks=6).write(tmp_path / "c"))
    assert [(tick.arm, tick.kept, tick.value) for tick in report.ticks] == [
        ("quick", True, 10.0),
        ("slow", False, 12.5),
        ("same", True, 10.0),
    ]
    assert report.ticks[1].words == "✗ slow: p50 of total_s < 12 (it is 12.5)"
    write_junit(report, tmp_path / "junit.xml")
    suites = {suite.get("name"): suite for suite in ET.parse(tmp_path / "junit.xml").getroot()}
    assert suites["limits"].get("failures") == "1"
    assert suites["trials"].get("tests") == "21"
    assert suites["trials"].get("failures") == "0"


def test_arms_that_look_alike_go_by_their_names(tmp_path: Path) -> None:
    table = build_report(Synthetic(drifting, blocks=6).write(tmp_path / "c")).table
    assert [line[0] for line in table.lines] == ["Synthetic: quick", "Synthetic: slow", "Synthetic: same"]


def test_two_pages_of_the_same_records_are_the_same(tmp_path: Path) -> None:
    campaign = Synthetic(drifting, blocks=6).write(tmp_path / "c")
    pages = [write_page(campaign, build_report(campaign)).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert b'id="verdicts"' in pages[0]


def test_two_sets_of_figures_and_tables_of_the_same_records_are_the_same(tmp_path: Path) -> None:
    campaign = Synthetic(drifting, blocks=6).write(tmp_path / "c")
    sets: list[list[bytes]] = []
    for name in ("one", "other"):
        trials = load_trials(campaign)
        files = write_tables(tables_of("c", trials), tmp_path / name)
        chart = timeline_chart(trials[-1], "timeline", "Synthetic", "figure 8")
        sets.append([chart.svg.encode(), chart.png, *(file.read_bytes() for file in files)])
    assert sets[0] == sets[1]
    # Clip paths are what two drawings differed in: without one this says little.
    assert b"clip0" in sets[0][0]
