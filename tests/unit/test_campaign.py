from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.campaign import estimate_states_s, estimate_trial_s, need_possible, plan_again, plan_trials, readied_with
from whimbrel.errors import UsageError
from whimbrel.images.store import ImageStore
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign


@pytest.fixture
def paper() -> CampaignSpec:
    return load_campaign(Path(__file__).parents[2] / "scenarios" / "paper.yaml")


def test_every_trial_is_planned_once(paper: CampaignSpec) -> None:
    plans = plan_trials(paper)
    wanted = sum(arm.trials for scenario in paper.scenarios for arm in scenario.arms)
    assert len(plans) == wanted == 21
    assert len({(plan.arm, plan.block) for plan in plans}) == wanted
    assert [plan.order for plan in plans] == list(range(1, wanted + 1))


def test_the_seed_makes_the_order(paper: CampaignSpec) -> None:
    assert plan_trials(paper) == plan_trials(paper)
    other = plan_trials(paper.model_copy(update={"seed": paper.seed + 1}))
    assert [plan.scenario for plan in other] != [plan.scenario for plan in plan_trials(paper)]


@pytest.mark.parametrize("boots", [3, 4])
def test_blocks_take_turns_among_saved_states_and_directions(paper: CampaignSpec, boots: int) -> None:
    spec = paper.model_copy(update={"guest": paper.guest.model_copy(update={"saved_states": boots})})
    plans = [plan for plan in plan_trials(spec, frozenset({"vm"}), repeat=2 * boots) if plan.viewers == 1]
    assert sorted(plan.state_boot for plan in plans) == sorted([*range(1, boots + 1)] * 2)
    # Each boot's guest goes once each way.
    assert len({(plan.state_boot, plan.source) for plan in plans}) == 2 * boots
    for block in range(1, 2 * boots + 1):
        assert len({plan.state_boot for plan in plan_trials(spec, repeat=2 * boots) if plan.block == block}) == 1


def test_only_and_repeat(paper: CampaignSpec) -> None:
    plans = plan_trials(paper, frozenset({"vm"}), repeat=1)
    assert {plan.scenario for plan in plans} == {"vm"}
    assert sorted(plan.viewers for plan in plans) == [1, 2, 5, 10]
    with pytest.raises(UsageError, match="no scenario 'vn'"):
        plan_trials(paper, frozenset({"vn"}))


def test_the_estimate_grows_with_memory(paper: CampaignSpec) -> None:
    larger = paper.model_copy(update={"guest": paper.guest.model_copy(update={"memory_bytes": 4 * 2**30})})
    assert estimate_trial_s(larger) > estimate_trial_s(paper)


def test_containers_on_servers_start_anew(paper: CampaignSpec) -> None:
    servers = load_campaign(Path(__file__).parents[2] / "scenarios" / "servers.yaml")
    assert {plan.form for plan in plan_trials(servers)} == {"container"}
    assert estimate_states_s(plan_trials(servers)) == 0
    assert estimate_states_s(plan_trials(paper)) > 0


def test_vms_ask_nothing_of_this_kernel(paper: CampaignSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    need_possible(paper, plan_trials(paper), ImageStore())
    assert list(tmp_path.iterdir()) == []


EVIDENCE = """
schema_version: 1
name: t
guest: {saved_states: 5}
evidence: {blocks: 6, warm_up_blocks: 2, hypotheses: [{name: h, arm: vm-1, over: vm-0}]}
scenarios: [{name: vm, title: VM, form: vm, service: stream, arms: [{viewers: 0}, {viewers: 1}, {viewers: 1, moves: false}]}]
"""


@pytest.fixture
def referee(tmp_path: Path) -> CampaignSpec:
    file = tmp_path / "referee.yaml"
    file.write_text(EVIDENCE)
    return load_campaign(file)


def test_a_block_holds_every_arm_once_and_warm_ups_come_first(referee: CampaignSpec) -> None:
    plans = plan_trials(referee)
    assert [plan.counts for plan in plans] == [False] * 6 + [True] * 18
    for block in range(1, 7):
        members = [plan for plan in plans if plan.block == block]
        assert sorted(plan.arm for plan in members) == ["vm-0", "vm-1", "vm-1-stays"]
        assert [plan.order for plan in members] == list(range(members[0].order, members[0].order + 3))
        assert {plan.source for plan in members} == {"a" if block % 2 else "b"}
    orders = {tuple(plan.arm for plan in plans if plan.block == block) for block in range(1, 7)}
    assert len(orders) > 1
    for arm in ("vm-0", "vm-1", "vm-1-stays"):
        assert sorted(plan.state_boot for plan in plans if plan.arm == arm and 1 <= plan.block <= 5) == [1, 2, 3, 4, 5]


def test_a_spoilt_block_is_planned_again_as_it_was(referee: CampaignSpec) -> None:
    plans = plan_trials(referee)
    again = plan_again(referee, plans, 4)
    assert {plan.block for plan in again} == {7}
    assert {plan.repeats for plan in again} == {4}
    assert [plan.order for plan in again] == [25, 26, 27]
    first = {plan.arm: (plan.source, plan.state_boot) for plan in plans if plan.block == 4}
    assert {plan.arm: (plan.source, plan.state_boot) for plan in again} == first
    thrice = plan_again(referee, plans + again, 7)
    assert {(plan.block, plan.repeats) for plan in thrice} == {(8, 4)}


def test_states_are_made_block_by_block_so_that_the_first_results_come_soon(paper: CampaignSpec) -> None:
    plans = plan_trials(paper)
    first = readied_with(plans[0], paper, plans, {})
    assert [plan.order for plan in first] == list(range(1, 10))
    assert {(plan.form, plan.state_boot) for plan in first} == {("vm", 1), ("nested", 1)}
    # What was made before an interruption is not prepared again.
    assert [plan.order for plan in readied_with(plans[8], paper, plans, {1, 2, 9})] == [3, 4, 5, 6, 7, 8]
    assert {plan.block for plan in readied_with(plans[9], paper, plans, set(range(1, 10)))} == {2}


def test_where_hypotheses_are_registered_all_states_come_before_the_first_trial(referee: CampaignSpec) -> None:
    plans = plan_trials(referee)
    assert readied_with(plans[0], referee, plans, {}) == plans
    assert readied_with(plans[3], referee, plans, {1, 2, 3}) == plans[3:]
