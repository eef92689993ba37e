"""What a campaign expects of its moves: learned from its own trials, by profiles that like arms share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.campaigns import RECORDED
from tests.unit.test_expectation import LINK, guest
from whimbrel.analysis.kept import kept_figures
from whimbrel.campaign import plan_trials
from whimbrel.errors import UsageError
from whimbrel.predict.move import expectation_of
from whimbrel.predict.overheads import UNKNOWN, learn
from whimbrel.predict.profile import Profile
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan, Prediction
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.trial import foresight
from whimbrel.trial.foresight import Foresight, foretell, read_profile, seen_in

TEXT = """
schema_version: 1
name: foreseen
observe: {profile_for: 10 s}
migration: {max_downtime: 300 ms}
scenarios:
  - name: vm
    title: Foreseen
    form: vm
    service: stream
    arms:
      - {name: one, viewers: 1}
      - {name: hurried, viewers: 1, set: {migration.max_downtime: 100 ms}}
      - {name: two, viewers: 2}
      - {name: cold, viewers: 1, set: {migration.technique: cold}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))


@pytest.fixture
def trial(folder: CampaignFolder) -> StoredTrial:
    """A pre-copy move of a VM with one viewer."""
    return next(stored for stored in folder.trials() if stored.record.plan.arm == "vm-1")


@pytest.fixture
def arms(tmp_path: Path) -> dict[str, tuple[CampaignSpec, Plan]]:
    file = tmp_path / "foreseen.yaml"
    file.write_text(TEXT)
    spec = load_campaign(file)
    return {plan.arm: (spec.in_arm(spec.find_arm(plan.arm)[1]), plan) for plan in plan_trials(spec)}


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The arm and the time of each guest that was profiled."""
    found: list[tuple[str, float]] = []

    def rehearse(site: Any, spec: CampaignSpec, plan: Plan, start: Any, seconds: float, told: Any) -> Profile:
        found.append((plan.arm, seconds))
        return guest(rate=100.0)

    monkeypatch.setattr(foresight, "rehearse", rehearse)
    return found


def foresight_in(folder: CampaignFolder) -> Foresight:
    site: Any = SimpleNamespace()
    return Foresight(site, folder, lambda _: None)


def test_what_a_move_took_beside_its_memory_is_what_its_events_say(trial: StoredTrial) -> None:
    # Reservation began at 6617.347882873 s, the first pass over memory at 6618.038785320 s; it ran again at 6626.794742320 s,
    # and the call came back at 6627.045424937 s. QEMU's downtime was 209 ms, the blackout 218.964 ms, the reachability gap
    # 280.419167 ms, the service gap 342.369854 ms.
    seen = seen_in(trial)
    assert seen is not None
    assert seen.before_s == pytest.approx(0.690902447)
    assert seen.after_s == pytest.approx(0.250682617)
    assert seen.switch_s == pytest.approx(0.009964)
    assert seen.announce_s == pytest.approx(0.061455167)
    assert seen.packet_s == pytest.approx(0.061950687)
    # Nobody had tried the link, so what its buffers held is not known.
    assert (seen.stop_s, seen.link_bytes_per_s, seen.rest_share) == (None, None, None)


def test_with_a_tried_link_it_is_known_what_stopping_took(trial: StoredTrial) -> None:
    rest, move = trial.record.rest, trial.record.move
    assert rest is not None
    assert move is not None
    changed = trial.record.model_copy(update={
        "rest": rest.model_copy(update={"link_bytes_per_s": 25e6}),
        "move": move.model_copy(update={"qemu_ram": {"downtime-bytes": 2_500_000}}),
    })  # fmt: skip
    seen = seen_in(replace(trial, record=changed))
    assert seen is not None
    # 2.5 MB over 25 MB/s take 100 ms of a downtime of 209 ms.
    assert seen.stop_s == pytest.approx(0.109)
    assert seen.link_bytes_per_s == 25e6


@pytest.mark.parametrize("change", [{"technique": "post-copy"}, {"technique": "paused"}, {"moves": "container"}])
def test_only_pre_copy_of_a_vm_teaches(trial: StoredTrial, change: dict[str, str]) -> None:
    migration = trial.record.spec.migration.model_copy(update=change)
    record = trial.record.model_copy(update={"spec": trial.record.spec.model_copy(update={"migration": migration})})
    assert seen_in(replace(trial, record=record)) is None


def test_a_move_that_was_not_measured_teaches_nothing(trial: StoredTrial) -> None:
    outcome = trial.record.outcome.model_copy(update={"measured": False, "error": "the probe ended"})
    record = trial.record.model_copy(update={"outcome": outcome})
    assert not kept_figures(replace(trial, record=record)).measured
    assert seen_in(replace(trial, record=record)) is None


def test_arms_that_differ_in_the_move_alone_share_a_profile(
    folder: CampaignFolder, arms: dict[str, tuple[CampaignSpec, Plan]], rehearsed: list[tuple[str, float]]
) -> None:
    found = foresight_in(folder)
    start: Any = None
    for arm in ("one", "hurried", "two", "one", "cold"):
        found.prepare(*arms[arm], start)
    # "hurried" has the guest of "one"; a cold move is not predicted.
    assert rehearsed == [("one", 10.0), ("two", 10.0)]
    assert len(list(folder.profiles.glob("*-1.json"))) == 2
    assert all(read_profile(file) == guest(rate=100.0) for file in folder.profiles.iterdir())
    # Whoever resumes it profiles nothing again.
    foresight_in(folder).prepare(*arms["one"], start)
    assert len(rehearsed) == 2


def test_what_is_not_to_be_predicted_is_not(folder: CampaignFolder, arms: dict[str, tuple[CampaignSpec, Plan]]) -> None:
    found = foresight_in(folder)
    assert found.of(*arms["cold"]) is None
    spec, plan = arms["one"]
    unprofiled = spec.model_copy(update={"observe": spec.observe.model_copy(update={"profile_for_s": None})})
    assert found.of(unprofiled, plan) is None
    assert found.of(spec, plan.model_copy(update={"moves": False})) is None


def test_a_trial_teaches_those_of_its_form_that_follow(
    folder: CampaignFolder, trial: StoredTrial, arms: dict[str, tuple[CampaignSpec, Plan]], rehearsed: list[tuple[str, float]]
) -> None:
    found = foresight_in(folder)
    start: Any = None
    spec, plan = arms["one"]
    found.prepare(spec, plan, start)

    def said() -> Prediction:
        foretell_it = found.of(spec, plan)
        assert foretell_it is not None
        return foretell_it(LINK)

    assert said().learned_from == 0
    # The recorded campaign was not to be predicted, so it learned nothing for one that is.
    found.learn(trial)
    assert said().learned_from == 0
    observe = trial.record.spec.observe.model_copy(update={"profile_for_s": 10.0})
    record = trial.record.model_copy(update={"spec": trial.record.spec.model_copy(update={"observe": observe})})
    found.learn(replace(trial, record=record))
    assert said().learned_from == 1
    nested = plan.model_copy(update={"form": "nested"})
    found.prepare(spec, nested, start)
    of_nested = found.of(spec, nested)
    assert of_nested is not None
    assert of_nested(LINK).learned_from == 0


def test_what_is_foretold_is_what_the_model_says(
    folder: CampaignFolder, trial: StoredTrial, arms: dict[str, tuple[CampaignSpec, Plan]], rehearsed: list[tuple[str, float]]
) -> None:
    spec, plan = arms["one"]
    start: Any = None
    foresight_in(folder).prepare(spec, plan, start)
    [file] = folder.profiles.iterdir()
    seen = seen_in(trial)
    assert seen is not None
    said = foretell(file, spec, [seen], LINK)
    model = expectation_of(guest(rate=100.0), LINK, spec, spec.migration, learn([seen]))
    assert (said.profile, said.link_bytes_per_s, said.converges, said.rounds) == (file.name, LINK, model.converges, model.rounds)
    assert said.total_s is not None
    assert model.total_s is not None
    assert (said.total_s.least, said.total_s.middle, said.total_s.most) == (
        model.total_s.least, model.total_s.middle, model.total_s.most,
    )  # fmt: skip
    # Without a trial before it, nothing is known of what comes beside.
    unlearned = foretell(file, spec, [], LINK).total_s
    blind = expectation_of(guest(rate=100.0), LINK, spec, spec.migration, UNKNOWN).total_s
    assert unlearned is not None
    assert blind is not None
    assert unlearned.most == blind.most > said.total_s.most


def test_a_damaged_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "0123-1.json").write_text('{"pages": "many"}')
    with pytest.raises(UsageError, match=r"0123-1\.json: is damaged"):
        read_profile(tmp_path / "0123-1.json")
