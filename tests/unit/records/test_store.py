from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder, read_json, spans, write_json
from whimbrel.records.trial import TrialRecord
from whimbrel.spec.fields import RECORD

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


def renumbered(copy: Path, order: int, numbers: list[int]) -> None:
    """Trial ``order`` under other numbers."""
    [source] = (copy / "trials").glob(f"{order:04d}-*")
    for number in numbers:
        place = Path(shutil.copytree(source, copy / "trials" / f"{number:04d}-{source.name[5:]}"))
        record = json.loads((place / "trial.json").read_text())
        record["plan"]["order"] = number
        write_json(place / "trial.json", record)


def test_trials_come_in_their_order_however_many_digits_their_numbers_have(copy: Path) -> None:
    renumbered(copy, 1, [1001, 9999, 10000, 10001])
    campaign = CampaignFolder.open(copy)
    assert [trial.record.plan.order for trial in campaign.trials()] == [1, 2, 3, 1001, 9999, 10000, 10001]
    assert campaign.made == 7


def test_one_trial_is_found_by_its_number_without_reading_the_others(copy: Path) -> None:
    first_trial(copy).write_text("damaged")
    campaign = CampaignFolder.open(copy)
    assert campaign.trial(2).record.plan.order == 2
    with pytest.raises(UsageError, match="is damaged"):
        campaign.trial(1)
    renumbered(copy, 2, [5])
    with pytest.raises(UsageError, match="there is no trial 4") as caught:
        campaign.trial(4)
    assert caught.value.resolution == "trials made: 1 to 3, 5"


def test_numbers_are_told_in_spans() -> None:
    assert spans([]) == ""
    assert spans([7]) == "7"
    assert spans([1, 2, 4, 9, 10, 11]) == "1 to 2, 4, 9 to 11"


def test_each_trial_has_its_own_spec_and_like_ones_share_it(copy: Path) -> None:
    renumbered(copy, 2, [5, 6, 7])
    for number, change in ((6, {"seed": 99}), (7, {"title": "Other", "scenarios": None})):
        [place] = (copy / "trials").glob(f"{number:04d}-*")
        record = json.loads((place / "trial.json").read_text())
        if "scenarios" in change:
            change["scenarios"] = record["spec"]["scenarios"][1:]
        record["spec"] |= change
        write_json(place / "trial.json", record)
    files = sorted((copy / "trials").glob("*/trial.json"))
    alone = [TrialRecord.model_validate(json.loads(file.read_text()), context=RECORD) for file in files]
    records = [trial.record for trial in CampaignFolder.open(copy).trials()]
    assert records == alone
    assert records[3].spec is records[1].spec
    assert records[4].spec.seed == 99
    assert len(records[5].spec.scenarios) == len(records[1].spec.scenarios) - 1


def test_a_damaged_spec_of_a_record_is_named_with_its_place(copy: Path) -> None:
    file = first_trial(copy)
    content = json.loads(file.read_text())
    content["spec"]["guest"]["vcpus"] = "many"
    write_json(file, content)
    with pytest.raises(UsageError, match=r"trial\.json: spec\.guest\.vcpus: "):
        CampaignFolder.open(copy).trials()
    del content["spec"]
    write_json(file, content)
    with pytest.raises(UsageError, match=r"trial\.json: spec: Field required"):
        CampaignFolder.open(copy).trials()


def test_a_committed_record_is_known_by_its_content(copy: Path, tmp_path: Path) -> None:
    campaign = CampaignFolder.open(copy)
    trial = campaign.trials()[0]
    place = tmp_path / "workplace"
    place.mkdir()
    committed = campaign.commit(place, trial.record)
    assert committed.record_sha256 == hashlib.sha256((committed.folder / "trial.json").read_bytes()).hexdigest()
    assert committed.record_sha256 == campaign.trials()[0].record_sha256
    assert replace(committed, record=trial.record).record_sha256 is None
