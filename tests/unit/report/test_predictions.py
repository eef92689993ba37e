"""What a report says of predictions: page, chart, table and JSON, of a campaign whose predictions are a fifth too high."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.campaigns import Synthetic
from whimbrel.report.as_json import summary
from whimbrel.report.content import Report, build_report
from whimbrel.report.export import tables_of
from whimbrel.report.layout import charts_of, write_page


@pytest.fixture
def foretold(tmp_path: Path) -> tuple[Report, Path]:
    campaign = Synthetic(lambda plan: 10.0 + plan.order / 100, blocks=5, expected_s=lambda plan: 1.2 * (10.0 + plan.order / 100))
    folder = campaign.write(tmp_path / "c")
    report = build_report(folder)
    return report, write_page(folder, report)


def test_the_page_has_a_line_for_each_figure_and_a_chart(foretold: tuple[Report, Path]) -> None:
    report, page = foretold
    assert 'id="predictor"' in page.read_text()
    [chart] = [chart for chart in charts_of(report) if chart.name == "predicted"]
    assert "expected" in chart.caption
    assert report.predictor is not None
    # Warm-up trials were predicted too.
    assert report.predictor.words == [
        "Will it converge? Of 18 pre-copy moves: 18 foreseen rightly, 0 left open, none foreseen wrongly.",
        "Predicted total: off by 20.0% (median), 20.0% (95th percentile) of 18 moves; 0% lay inside the interval.",
    ]


def test_a_script_gets_the_same(foretold: tuple[Report, Path], tmp_path: Path) -> None:
    report, _ = foretold
    said = summary(report, tmp_path)["predictor"]
    assert isinstance(said, dict)
    assert (said["verdicts"], said["verdicts_open"], said["verdicts_wrong"]) == (18, 0, [])
    table = tables_of("c", report.trials)["predictions"]
    assert table.height == 18
    errors = table.select((pl.col("expected") / pl.col("measured") - 1).abs().median()).item()
    assert errors == pytest.approx(said["figures"][0]["median_error"])
    assert table.get_column("inside").sum() == 0


def test_a_campaign_that_predicts_nothing_does_not_speak_of_it(tmp_path: Path) -> None:
    folder = Synthetic(lambda _: 10.0, blocks=5).write(tmp_path / "c")
    report = build_report(folder)
    assert 'id="predictor"' not in write_page(folder, report).read_text()
    assert summary(report, tmp_path)["predictor"] is None
