"""A limit of bandwidth as libvirt takes it, in whole MiB/s: what is set, foretold, counted and said is the same figure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaigns import RECORDED
from tests.fakes import GUEST, FakeHost
from tests.unit.test_expectation import LINK, guest
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.summary import summarise
from whimbrel.campaign import estimate_trial_s
from whimbrel.migrate.by_virsh import virsh_words
from whimbrel.migrate.live import options_of
from whimbrel.migrate.technique import MoveRequest
from whimbrel.predict.candidates import candidates_for
from whimbrel.predict.move import expectation_of
from whimbrel.predict.overheads import UNKNOWN
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import TrialRecord
from whimbrel.report.content import environment_of
from whimbrel.report.export import tables_of
from whimbrel.report.load import load_trials
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.load import load_campaign
from whimbrel.spec.migration import MigrationSpec

PROJECT = Path(__file__).parents[3]
QUICK = PROJECT / "scenarios" / "quick.yaml"
NOTE = "held to 8.389 Mbit/s: libvirt takes whole MiB/s"


def migration(**options: object) -> MigrationSpec:
    return MigrationSpec.model_validate({"bandwidth": "15 Mbit/s", **options})


def request(spec: MigrationSpec) -> MoveRequest:
    return MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**30, 2**30, spec)


@pytest.mark.parametrize(
    ("asked", "mib_per_s", "said"),
    [
        ("15 Mbit/s", 1, NOTE),
        ("1 MiB/s", 1, None),
        ("16 Mibit/s", 2, None),
        ("16.7 Mbit/s", 1, "held to 8.389 Mbit/s: libvirt takes whole MiB/s"),
        ("100 Mbit/s", 11, "held to 92.27 Mbit/s: libvirt takes whole MiB/s"),
    ],
)
def test_what_is_set_is_what_both_ways_to_move_are_told_and_what_is_said(asked: str, mib_per_s: int, said: str | None) -> None:
    spec = migration(bandwidth=asked)
    assert spec.bandwidth_set_bytes_per_s == mib_per_s * 2**20
    assert options_of(request(spec)).bandwidth_mib_per_s == mib_per_s
    words = virsh_words(request(migration(bandwidth=asked, by="virsh")))
    assert words[words.index("--bandwidth") + 1] == str(mib_per_s)
    assert spec.bandwidth_note == said


def test_a_disk_that_qemu_img_sends_gets_the_rate_that_was_asked_for() -> None:
    spec = migration(technique="cold", storage="full")
    assert (spec.bandwidth_set_bytes_per_s, spec.bandwidth_note) == (15e6 / 8, None)


def test_no_limit_is_none() -> None:
    assert (MigrationSpec().bandwidth_set_bytes_per_s, MigrationSpec().bandwidth_note) == (None, None)


def with_bandwidth(text: str) -> CampaignSpec:
    return load_campaign(QUICK, [f"migration.bandwidth={text}"])


@pytest.mark.parametrize("technique", ["pre-copy", "paused", "post-copy"])
def test_predictions_and_estimates_are_made_for_what_is_set(technique: str) -> None:
    asked, held = with_bandwidth("15 Mbit/s"), with_bandwidth("1 MiB/s")

    def foretold(spec: CampaignSpec) -> object:
        moved = spec.migration.model_copy(update={"technique": technique})
        return expectation_of(guest(10.0), 20 * LINK, spec, moved, UNKNOWN)

    assert foretold(asked) == foretold(held) != foretold(with_bandwidth("2 MiB/s"))
    assert estimate_trial_s(asked) == estimate_trial_s(held)


@pytest.mark.parametrize(("link_bytes_per_s", "offered"), [(25e6, ["11 MiB/s", "5 MiB/s"]), (3e6, ["1 MiB/s"]), (1.5e6, [])])
def test_a_goal_is_offered_what_can_be_set(link_bytes_per_s: float, offered: list[str]) -> None:
    found = candidates_for(guest(10.0), link_bytes_per_s, load_campaign(QUICK), UNKNOWN)
    assert [each.options["bandwidth"] for each in found if "bandwidth" in each.options] == offered
    for each in found:
        MigrationSpec.model_validate(each.options)


def test_tables_and_page_give_what_was_set(tmp_path: Path) -> None:
    """The recorded trials as they would be, had an arm of their file asked for it."""
    # What is derived of them is kept beside them.
    trials = load_trials(CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign"))))
    records = [asking(trial.stored.record) for trial in trials]
    asked = [replace(trial, stored=replace(trial.stored, record=record)) for trial, record in zip(trials, records, strict=True)]
    assert tables_of("c", asked)["trials"]["bandwidth_bytes_per_s"].to_list() == [2.0**20] * 3
    arms = summarise([Trialled(record, trial.figures) for record, trial in zip(records, trials, strict=True)])
    assert {arm.particulars for arm in arms} == {f"bandwidth 15 Mbit/s ({NOTE})"}
    assert dict(environment_of(asked))["bandwidth"] == f"at most 15 Mbit/s, {NOTE}"


def asking(record: TrialRecord) -> TrialRecord:
    content = record.model_dump(mode="json", by_alias=True)
    for scenario in content["spec"]["scenarios"]:
        for arm in scenario["arms"]:
            arm["set"] = {"migration.bandwidth": "15 Mbit/s"}
            arm["name"] = record.plan.arm if scenario["name"] == record.plan.scenario else scenario["name"]
    content["spec"]["migration"]["bandwidth"] = "15 Mbit/s"
    return TrialRecord.model_validate(content, context=RECORD)


def test_a_campaigns_plan_says_so(tmp_path: Path) -> None:
    asked = ["--only", "vm", "--set", "migration.bandwidth=15 Mbit/s"]
    done = subprocess.run(
        [sys.executable, "-m", "whimbrel", "run", str(QUICK), "--dry-run", *asked],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip
    assert f"bandwidth of arm vm-1: {NOTE}\n" in done.stdout
