"""Tables for a text of one's own, and pages of very many trials."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.campaigns import RECORDED, Synthetic
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.layout import sampled, write_page
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
