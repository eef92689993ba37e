from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder, read_json, write_json

RECORDED = Path(__file__).parents[2] / "recorded" / "campaign"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "campaign"))


def first_trial(folder: Path) -> Path:
    return sorted((folder / "trials").iterdir())[0] / "trial.json"


def test_a_recorded_campaign_reads_back() -> None:
    trials = CampaignFolder.open(RECORDED).trials()
    assert {trial.record.plan.scenario for trial in trials} == {"baseline", "vm", "nested"}
    assert all(trial.series("hosts") is not None for trial in trials)
    assert trials[0].series("nothing") is None


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        CampaignFolder.open(tmp_path)


def test_results_are_never_written_over(copy: Path) -> None:
    campaign = CampaignFolder.open(copy)
    with pytest.raises(UsageError, match="already holds results"):
        CampaignFolder.create(copy, campaign.spec, "x", [])


def test_another_schema_is_refused(copy: Path) -> None:
    file = first_trial(copy)
    write_json(file, json.loads(file.read_text()) | {"schema_version": 99})
    with pytest.raises(UsageError, match="schema_version 99"):
        CampaignFolder.open(copy).trials()


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 1}', "[]"])
def test_a_damaged_record_is_named(copy: Path, damage: str) -> None:
    file = first_trial(copy)
    file.write_text(damage)
    with pytest.raises(UsageError, match="damaged") as caught:
        CampaignFolder.open(copy).trials()
    assert str(file) in str(caught.value)


def test_a_trial_that_was_not_finished_is_not_there(copy: Path) -> None:
    before = len(CampaignFolder.open(copy).trials())
    (copy / "trials" / ".0099.partial").mkdir()
    assert len(CampaignFolder.open(copy).trials()) == before


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert read_json(file) == {"a": 1}


def test_a_plan_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    """A trial's folder is named by its arm, and one that is there is replaced: as root, when a campaign goes on."""
    copy = tmp_path / "campaign"
    shutil.copytree(RECORDED, copy)
    header = json.loads((copy / "campaign.json").read_text())
    header["plans"][0]["arm"] = "x/../../../elsewhere"
    (copy / "campaign.json").write_text(json.dumps(header))
    with pytest.raises(UsageError, match="plans"):
        _ = CampaignFolder.open(copy).plans
