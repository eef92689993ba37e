from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from whimbrel.cli.tables import export, query
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.export import TABLES
from whimbrel.report.layout import write_page

RECORDED = Path(__file__).parents[2] / "recorded" / "campaign"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "results" / "first"))


def test_a_row_per_trial_per_viewer_and_per_buffer(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(campaign, None, as_json=True)
    files = [Path(file) for file in json.loads(capsys.readouterr().out)]
    assert sorted(file.name for file in files) == sorted(f"{table}.{kind}" for table in TABLES for kind in ("csv", "parquet"))
    tables = {file.stem: pl.read_parquet(file) for file in files if file.suffix == ".parquet"}
    assert {name: frame.height for name, frame in tables.items()} == {
        "trials": 3, "viewers": 2, "playbacks": 6, "checks": 0, "instruments": 8, "predictions": 0,
    }  # fmt: skip
    assert tables["trials"].get_column("arm").to_list() == ["nested-1", "vm-1", "baseline"]
    # Nobody watched the baseline: unknown, not 0.
    assert tables["trials"].get_column("service_gap_ms").to_list()[2] is None
    for file in files:
        if file.suffix == ".csv":
            assert pl.read_csv(file).height == tables[file.stem].height


def test_what_is_published_holds_no_series(campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_report(CampaignFolder.open(campaign))
    write_page(CampaignFolder.open(campaign), built)
    export(campaign, tmp_path / "published", page=True, as_json=True)
    names = {str(Path(file).relative_to(tmp_path / "published")) for file in json.loads(capsys.readouterr().out)}
    assert {"report.html", "trials.csv", "viewers.parquet", "trials/0002-vm-1.json"} <= names
    assert not [name for name in names if name.endswith(".parquet") and "/" in name]


def test_all_campaigns_answer_a_question(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RECORDED, campaign.parent / "second")
    query("select campaign, count(*) as n from trials group by 1 order by 1", [campaign.parent], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"campaign": "first", "n": 3}, {"campaign": "second", "n": 3}]
    query("select arm, total_s from trials where form = 'nested'", [campaign], as_csv=True)
    assert capsys.readouterr().out.startswith("arm,total_s\nnested-1,20.6")


def test_a_campaign_that_cannot_be_read_is_left_out_and_told(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(RECORDED, campaign.parent / "second")
    (other / "trials" / "0002-vm-1" / "trial.json").write_text("{")
    query("select distinct campaign from trials", [campaign.parent], as_csv=True)
    said = capsys.readouterr()
    assert said.out.split() == ["campaign", "first"]
    assert "left out" in said.err


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("selct", "syntax error"),
        ("select colour from trials", "colour"),
        ("select * from '/etc/passwd'", "/etc/passwd"),
        ("copy trials to '/tmp/whimbrel-never.csv'", "disabled"),
        ("", "no question is asked"),
    ],
)
def test_a_question_that_is_none(campaign: Path, question: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        query(question, [campaign])
    assert "trials has campaign, trial, arm" in str(caught.value)


def test_no_results_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        query("select 1", [tmp_path])
