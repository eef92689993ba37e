"""Tables for a text of one's own, and pages of very many trials."""

from __future__ import annotations

import base64
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns import RECORDED, Synthetic, crowd
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report, report_of
from whimbrel.report.layout import charts_of, write_page
from whimbrel.report.picture import as_svg
from whimbrel.report.sampling import MOST_DOTS, evenly, sampled
from whimbrel.report.share import as_latex, as_markdown
from whimbrel.report.table import Column, Table

TABLE = Table([Column("a_b", ""), Column("50 % (ms)", "")], [["x | y", "1 – 2"], ["<b>$", "3 ± 4"]])


def test_a_table_as_markdown() -> None:
    assert as_markdown(TABLE) == "| a\\_b | 50 % (ms) |\n| :-- | --: |\n| x \\| y | 1 – 2 |\n| &lt;b>$ | 3 ± 4 |\n"


def test_a_table_as_latex() -> None:
    assert as_latex(TABLE).splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"a\_b & 50 \% (ms) \\", r"\midrule", r"x | y & 1 -- 2 \\", r"<b>\$ & 3 $\pm$ 4 \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_the_page_has_its_tables_to_share(tmp_path: Path) -> None:
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "| scenario | viewers | succeeded |" in page
    assert r"\begin{tabular}{lrrrrr" in page
    # So few are listed one and all.
    assert "are listed here" not in page


def data_of(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """All rows that a chart holds, set by set."""
    return list(spec["datasets"].values())


def test_the_first_table_is_there_as_a_picture(tmp_path: Path) -> None:
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    page = write_page(campaign, build_report(campaign)).read_text()
    [picture] = re.findall(r'href="data:image/png;base64,([^"]+)"', page)
    png = base64.b64decode(picture)
    assert png.startswith(b"\x89PNG")
    # As it is drawn, twice as large.
    svg = as_svg(Table([Column("a", ""), Column("b", "")], [["one <two>", "3 [2 to 4]"]]))
    assert re.findall(r">([^<>]+)</text>", svg) == ["a", "b", "one &lt;two&gt;", "3", "[2 to 4]"]
    width, height = (int(size) for size in re.findall(r' (?:width|height)="(\d+)"', svg)[:2])
    assert (width > 100, height) == (True, 28 + 46)


def test_charts_of_very_many_trials_have_few_dots_and_lines_that_are_of_all(tmp_path: Path) -> None:
    campaign, trials = crowd(tmp_path / "c", 60)
    assert len(trials) > 1.5 * MOST_DOTS
    charts = {chart.name: chart for chart in charts_of(report_of(campaign, trials))}
    for name in ("every-trial", "run-order", "migration-time-against-viewers", "cost-at-rest"):
        assert re.search(r"Of [56]\d\d trials \d+ have a dot", charts[name].caption), charts[name].caption
        assert max(map(len, data_of(charts[name].spec))) <= MOST_DOTS
    counting = [trial for trial in trials if trial.stored.record.plan.arm == "vm-1" and trial.stored.record.plan.counts]
    totals_s = [trial.figures.total_s for trial in counting]
    shown = [values for values in data_of(charts["every-trial"].spec) if "median" in values[0]]
    [median] = [row["median"] for row in shown[0] if row["arm"] == "vm-1"]
    assert median == pytest.approx(statistics.median(total for total in totals_s if total is not None), abs=1e-3)


def test_of_few_every_one_has_a_dot() -> None:
    assert evenly(range(5), 5) == [0, 1, 2, 3, 4]
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly([], 4) == []


def test_of_very_many_trials_some_are_listed_and_all_that_went_wrong(tmp_path: Path) -> None:
    campaign = Synthetic(lambda plan: 10.0, blocks=8, slow_link={11}).write(tmp_path / "c")
    trials = build_report(campaign).trials
    spoilt = [trial.stored.record.plan.order for trial in trials if trial.figures.spoilt]
    assert spoilt == [11]
    some = sampled(trials, 6)
    orders = [trial.stored.record.plan.order for trial in some]
    assert len(orders) == 6
    assert orders == sorted(orders)
    assert 11 in orders
    # Spread over the whole campaign.
    assert orders[0] <= 3
    assert orders[-1] >= len(trials) - 6
    assert sampled(trials, len(trials)) == list(trials)
