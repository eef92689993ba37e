from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.campaign import estimate_trial_s, plan_trials
from whimbrel.errors import UsageError
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign


@pytest.fixture
def paper() -> CampaignSpec:
    return load_campaign(Path(__file__).parents[2] / "scenarios" / "paper.yaml")


def test_every_trial_is_planned_once(paper: CampaignSpec) -> None:
    plans = plan_trials(paper)
    wanted = sum(arm.trials for scenario in paper.scenarios for arm in scenario.arms)
    assert len(plans) == wanted == 21
    assert len({(plan.scenario, plan.viewers, plan.repetition) for plan in plans}) == wanted
    assert [plan.order for plan in plans] == list(range(1, wanted + 1))


def test_the_seed_makes_the_order(paper: CampaignSpec) -> None:
    assert plan_trials(paper) == plan_trials(paper)
    other = plan_trials(paper.model_copy(update={"seed": paper.seed + 1}))
    assert [plan.scenario for plan in other] != [plan.scenario for plan in plan_trials(paper)]


def test_trials_take_turns_among_saved_states(paper: CampaignSpec) -> None:
    for name in ("baseline", "vm", "nested"):
        boots = [plan.state_boot for plan in plan_trials(paper) if plan.scenario == name]
        counts = [boots.count(boot) for boot in (1, 2, 3)]
        assert max(counts) - min(counts) <= 1


def test_only_and_repeat(paper: CampaignSpec) -> None:
    plans = plan_trials(paper, frozenset({"vm"}), repeat=1)
    assert {plan.scenario for plan in plans} == {"vm"}
    assert sorted(plan.viewers for plan in plans) == [1, 2, 5, 10]
    with pytest.raises(UsageError, match="no scenario 'vn'"):
        plan_trials(paper, frozenset({"vn"}))


def test_the_estimate_grows_with_memory(paper: CampaignSpec) -> None:
    larger = paper.model_copy(update={"guest": paper.guest.model_copy(update={"memory_bytes": 4 * 2**30})})
    assert estimate_trial_s(larger) > estimate_trial_s(paper)
