"""From records to verdicts: campaigns with known truth, and every statistic on the page computed again by other means."""

from __future__ import annotations

import itertools
import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from tests.campaigns import Synthetic
from whimbrel.analysis.evidence import Evidence
from whimbrel.records.trial import Plan
from whimbrel.report.content import Report, build_report
from whimbrel.report.export import tables_of
from whimbrel.report.junit import write_junit
from whimbrel.report.layout import write_page

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


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build_report(Synthetic(drifting, blocks=9).write(tmp_path_factory.mktemp("exported") / "c"))


@pytest.fixture(scope="module")
def exported(nine: Report) -> tuple[Evidence, pl.DataFrame]:
    report = nine
    assert report.evidence is not None
    table = tables_of("c", report.trials)["trials"].filter(pl.col("counts"))
    return report.evidence, pl.read_csv(table.write_csv().encode())


def logs(table: pl.DataFrame, arm: str, over: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    wide = table.pivot("arm", index="block", values="total_s").sort("block")
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = np.log(
        wide.get_column(arm).to_numpy() / wide.get_column(over).to_numpy()
    )
    return found


def test_ratios_and_p_values_are_those_of_scipy_and_statsmodels(exported: tuple[Evidence, pl.DataFrame]) -> None:
    found, table = exported
    pairs = [logs(table, "slow", "quick"), logs(table, "same", "quick")]
    alone = [float(stats.wilcoxon(pair, method="exact").pvalue) for pair in pairs]
    for finding, pair, p in zip(found.findings, pairs, alone, strict=True):
        walsh = [(one + other) / 2 for one, other in itertools.combinations_with_replacement(pair, 2)]
        assert finding.verdict.ratio.ratio == pytest.approx(math.exp(np.median(walsh)))
        assert finding.verdict.p_different_alone == pytest.approx(p)
    adjusted = multipletests(alone, method="holm")[1]
    assert [finding.verdict.p_different for finding in found.findings] == pytest.approx(list(adjusted))


def test_intervals_are_the_walsh_averages_that_the_textbook_names(exported: tuple[Evidence, pl.DataFrame]) -> None:
    # Hollander and Wolfe, section 3.3: of the 45 averages of 9 values, the 6th from either end bounds at 96.1 %.
    found, table = exported
    for finding, pair in zip(found.findings, (logs(table, "slow", "quick"), logs(table, "same", "quick")), strict=True):
        walsh = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(pair, 2))
        interval = finding.verdict.ratio.interval
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((math.exp(walsh[5]), math.exp(walsh[-6])))


def test_equivalence_is_two_one_sided_tests(exported: tuple[Evidence, pl.DataFrame]) -> None:
    found, table = exported
    edge = math.log(1.05)
    for finding, pair in zip(found.findings, (logs(table, "slow", "quick"), logs(table, "same", "quick")), strict=True):
        above = stats.wilcoxon(pair + edge, alternative="greater", method="exact").pvalue
        below = stats.wilcoxon(pair - edge, alternative="less", method="exact").pvalue
        assert finding.verdict.p_equivalent_alone == pytest.approx(max(above, below))


def test_overlap_counts_pairs(exported: tuple[Evidence, pl.DataFrame]) -> None:
    found, table = exported
    values = {arm: table.filter(pl.col("arm") == arm).get_column("total_s").to_list() for arm in FACTOR}
    for finding in found.findings:
        pairs = list(itertools.product(values[finding.hypothesis.arm], values[finding.hypothesis.over]))
        assert finding.overlap == pytest.approx(sum((a > b) - (a < b) for a, b in pairs) / len(pairs))


def test_medians_and_success_rates_are_those_of_the_textbook_and_of_statsmodels(
    nine: Report, exported: tuple[Evidence, pl.DataFrame]
) -> None:
    # Conover, table A3: of 9 values the 2nd and the 8th hold the median with 96.1 %.
    for arm in nine.arms:
        values = sorted(exported[1].filter(pl.col("arm") == arm.name).get_column("total_s").to_list())
        assert arm.total_s.median == pytest.approx(values[4])
        assert arm.total_s.interval is not None
        assert (arm.total_s.interval.low, arm.total_s.interval.high) == pytest.approx((values[1], values[7]))
        assert arm.success.interval is not None
        expected = proportion_confint(9, 9, alpha=0.05, method="beta")
        assert (arm.success.interval.low, arm.success.interval.high) == pytest.approx(expected)


def test_the_bootstrap_is_that_of_whole_blocks(exported: tuple[Evidence, pl.DataFrame]) -> None:
    # By hand: blocks drawn with replacement, the ratio of medians of what was drawn, percentiles set out as Hesterberg says.
    found, table = exported
    wide = table.pivot("arm", index="block", values="total_s").sort("block")
    dice = np.random.default_rng(3)
    share = stats.norm.cdf(stats.t.ppf(0.025, 8) * math.sqrt(9 / 8))
    for finding in found.findings:
        ours, theirs = (wide.get_column(arm).to_numpy() for arm in (finding.hypothesis.arm, finding.hypothesis.over))
        drawn = dice.integers(9, size=(4000, 9))
        low, high = np.quantile(np.median(ours[drawn], axis=1) / np.median(theirs[drawn], axis=1), [share, 1 - share])
        assert finding.by_block is not None
        assert finding.by_block.estimate == pytest.approx(np.median(ours) / np.median(theirs))
        assert finding.by_block.interval is not None
        assert (finding.by_block.interval.low, finding.by_block.interval.high) == pytest.approx((low, high), rel=0.01)
