"""Twice as many arms or trials are twice the work, not four times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from benchmarks import growth

from tests.campaigns import Synthetic
from tests.effort import steps
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.thresholds import ticks_of
from whimbrel.campaign import Campaign, estimate_campaign_s, estimate_profiles_s, estimate_states_s, plan_trials
from whimbrel.events import MORE_PLANNED, STEP, Bus
from whimbrel.hosts.site import Site
from whimbrel.moves.notes import Invocation
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.load import load_campaign

SCENARIOS = Path(__file__).parents[2] / "scenarios"
# More than twice by what has nothing to do with how many there are, and by much less than four times.
LINEAR = 2.4

HEAD = "schema_version: 1\nname: many\nguest: {saved_states: 5}\nobserve: {profile_for: 5 s}\nscenarios:\n"
SCENARIO = "  - name: vm\n    title: Many\n    form: vm\n    service: stream\n"


def listed(arms: int) -> str:
    lines = (f"      - {{viewers: 1, trials: 4, set: {{migration.max_downtime: {n + 1} ms}}}}\n" for n in range(arms))
    return f"{HEAD}{SCENARIO}    arms:\n{''.join(lines)}"


def crossed(arms: int) -> str:
    values = ", ".join(f"{n + 1} ms" for n in range(arms))
    return f"{HEAD}{SCENARIO}    factors: {{viewers: [1], migration.max_downtime: [{values}]}}\n    trials: 4\n"


@pytest.mark.parametrize("text", [listed, crossed])
def test_planning_grows_with_the_arms_and_no_more(text: Callable[[int], str], tmp_path: Path) -> None:
    def plan(arms: int) -> int:
        file = tmp_path / f"{arms}.yaml"
        file.write_text(text(arms))

        def work() -> None:
            spec = load_campaign(file)
            plans = plan_trials(spec)
            assert len(plans) == 4 * arms
            assert estimate_campaign_s(spec, plans) > 0
            assert estimate_profiles_s(spec, plans) > 0
            assert estimate_states_s(plans) > 0

        return steps(work)

    # So that nothing is counted that is loaded once.
    plan(2)
    assert plan(40) / plan(20) < LINEAR


def in_arm_whole(spec: CampaignSpec, settings: dict[str, Any]) -> CampaignSpec:
    """An arm's settings put into the whole file, and all of it checked."""
    content = spec.model_dump(mode="json", by_alias=True)
    for key, value in settings.items():
        *steps, last = key.split(".")
        place = content
        for step in steps:
            place[step] = place.get(step) or {}
            place = place[step]
        place[last] = value
    return CampaignSpec.model_validate(content, context=RECORD)


@pytest.mark.parametrize("file", sorted(set(SCENARIOS.glob("*.yaml")) - {SCENARIOS / "density.yaml"}), ids=lambda file: file.name)
def test_an_arm_is_what_the_whole_file_with_its_settings_would_be(file: Path) -> None:
    spec = load_campaign(file)
    for scenario in spec.scenarios:
        for arm in scenario.every_arm:
            assert spec.in_arm(arm) == in_arm_whole(spec, arm.settings)
            assert spec.in_arm(arm) is spec.in_arm(arm)
            assert spec.find_arm(str(arm.name)) == (scenario, arm)


def test_what_was_worked_out_from_one_spec_is_not_that_of_another() -> None:
    spec = load_campaign(SCENARIOS / "paper.yaml")
    first = spec.scenarios[0]
    assert [arm.name for arm in first.every_arm] == ["baseline"]
    other = first.model_copy(update={"arms": (*first.arms[:1], first.arms[0].model_copy(update={"name": "second"}))})
    assert [arm.name for arm in other.every_arm] == ["baseline", "second"]
    assert spec.find_arm("baseline")[0] is first
    assert spec.model_copy(update={"scenarios": (other,)}).find_arm("second")[0] is other


def made(folder: Path, blocks: int, slow_link: int = 0) -> CampaignFolder:
    return Synthetic(lambda plan: 10.0, blocks=blocks, slow_link={slow_link}).write(folder)


class EndedError(Exception):
    """More trials are to be made: there is no lab here."""


def go_on(campaign: CampaignFolder, stored: list[StoredTrial], said: list[str]) -> list[Plan]:
    """Goes on with a campaign whose planned trials are all made, and are these."""

    class Telling(Bus):
        def tell(self, name: str, **data: Any) -> None:
            if name == STEP:
                said.append(data["text"])
            if name == MORE_PLANNED:
                said.append(f"{len(data['trials'])} more")
                raise EndedError

    site = cast("Site", SimpleNamespace(network=SimpleNamespace(shape_links=lambda rate: None)))
    folder = cast("CampaignFolder", SimpleNamespace(trials=lambda: stored))
    running = Campaign(campaign.spec, campaign.plans, site, folder, Invocation("a test", None), Telling())
    return [stored.record.plan for stored in running.run()]


def test_going_on_grows_with_the_trials_and_no_more(tmp_path: Path) -> None:
    def work(blocks: int) -> Callable[[], object]:
        campaign = made(tmp_path / str(blocks), blocks)
        stored = campaign.trials()
        return lambda: go_on(campaign, stored, [])

    few, many = work(20), work(40)
    few()
    assert steps(many) / steps(few) < LINEAR


def test_a_block_that_was_spoilt_is_made_again_once_it_is_complete(tmp_path: Path) -> None:
    # The warm-up takes 1 to 3, so 5 is of block 1 and 11 of block 3.
    campaign, said = made(tmp_path / "c", 8, slow_link=11), list[str]()
    with pytest.raises(EndedError):
        go_on(campaign, campaign.trials(), said)
    assert said[-2:] == ["block 3 will be made again: at rest the link gave 50% of its rate", "3 more"]
    whole, said_of_it = made(tmp_path / "whole", 6), list[str]()
    assert go_on(whole, whole.trials(), said_of_it) == whole.plans
    assert not [line for line in said_of_it if "again" in line]


def test_limits_grow_with_the_arms_and_no_more(tmp_path: Path) -> None:
    stored = made(tmp_path / "c", 6).trials()[3]
    figures = figures_of(stored)

    def work(arms: int) -> Callable[[], object]:
        file = tmp_path / f"{arms}.yaml"
        file.write_text(listed(arms).replace("observe:", "thresholds: {total_s: {max: '< 12'}}\nobserve:"))
        spec = load_campaign(file)
        records = [stored.record.model_copy(update={"spec": spec, "plan": plan}) for plan in plan_trials(spec)]
        trials = [Trialled(record, figures) for record in records]
        assert len(ticks_of(trials)) == arms
        return lambda: ticks_of(trials)

    few, many = work(40), work(80)
    assert steps(many) / steps(few) < LINEAR


def test_the_plan_of_a_long_campaign_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = CampaignFolder.open(made(tmp_path / "c", 6).folder)
    read: list[str] = []
    real = json.loads

    def counted(text: str) -> Any:
        read.append(text)
        return real(text)

    monkeypatch.setattr("whimbrel.records.store.json.loads", counted)
    assert campaign.spec.name == "synthetic"
    assert len(campaign.plans) == len(campaign.header["plans"]) == 21
    assert campaign.registration == campaign.spec.registration
    assert len(read) == 1


def test_the_benchmark_of_growth_runs_and_finds_kept_figures_to_be_those_derived_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FEW", 1)
    monkeypatch.setattr(growth, "MANY", 2)
    monkeypatch.setattr(growth, "TRIALS_OF_AN_ARM", 2)
    found = growth.measure(1, lambda text: None)
    assert (found.alike, found.compared) == (2, 2)
    assert found.planning.pairs == found.showing.pairs == found.paging.pairs == found.asking.pairs == 1
    assert min(found.planning_s, found.planning.middle, found.kept_over_anew.middle) > 0
