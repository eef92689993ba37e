"""Campaigns with known truth, made of one recorded trial: only plan, length of the move and what came before it differ."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whimbrel.campaign import plan_trials
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.report.load import ReportedTrial, load_trials
from whimbrel.spec.load import load_campaign

RECORDED = Path(__file__).parent / "recorded" / "campaign"
QUICK = Path(__file__).parents[1] / "scenarios" / "quick.yaml"

TEXT = """
schema_version: 1
name: synthetic
seed: 7
guest: {{saved_states: 5}}
evidence:
  blocks: {blocks}
  warm_up_blocks: 1
  margin: 5 %
  hypotheses:
    - {{name: nesting, claim: Nesting is slower, arm: slow, over: quick}}
    - {{name: nothing, arm: same, over: quick}}
thresholds: {{total_s: {{p50: "< 12"}}}}
scenarios:
  - name: vm
    title: Synthetic
    form: vm
    service: none
    arms: [{{name: quick}}, {{name: slow}}, {{name: same}}]
"""


def prediction_of(expected_s: float, called_ns: int) -> dict[str, Any]:
    """A prediction that was made just before a move, give or take a tenth; of its total time alone."""
    total = {"middle": expected_s, "least": expected_s * 0.9, "most": expected_s * 1.1}
    unknown = ("rounds", "downtime_s", "blackout_s", "reachability_gap_s", "service_gap_s", "sent_bytes")
    return dict.fromkeys(unknown) | {
        "made_ns": called_ns - 1, "profile": "one.json", "link_bytes_per_s": 1e6, "learned_from": 3, "converges": True,
        "forced": False, "total_s": total,
    }  # fmt: skip


@dataclass
class Synthetic:
    """How long each trial's move takes, in s, and the trials before which the link was slow."""

    total_s: Callable[[Plan], float]
    blocks: int = 8
    made: int | None = None
    slow_link: set[int] = field(default_factory=set)
    expected_s: Callable[[Plan], float] | None = None

    def write(self, folder: Path) -> CampaignFolder:
        """The campaign as a folder of records without series."""
        file = folder.with_suffix(".yaml")
        file.write_text(TEXT.format(blocks=self.blocks))
        spec = load_campaign(file)
        plans = plan_trials(spec)
        campaign = CampaignFolder.create(folder, spec, "a test", plans)
        raw = json.loads((RECORDED / "trials" / "0003-baseline" / "trial.json").read_text())
        for plan in plans[: self.made]:
            trial = json.loads(json.dumps(raw))
            trial |= {"spec": json.loads(spec.model_dump_json()), "plan": plan.model_dump(), "registration": spec.registration}
            trial["move"]["returned_ns"] = trial["move"]["called_ns"] + round(self.total_s(plan) * 1e9)
            share = 0.5 if plan.order in self.slow_link else 1.0
            trial["rest"]["link_bytes_per_s"] = spec.link_rate_bytes_per_s * 0.956 * share
            if self.expected_s is not None:
                trial["prediction"] = prediction_of(self.expected_s(plan), trial["move"]["called_ns"])
            place = folder / "trials" / f"{plan.order:04d}-{plan.arm}"
            place.mkdir()
            (place / "trial.json").write_text(json.dumps(trial))
        return campaign


def crowd(folder: Path, blocks: int) -> tuple[CampaignFolder, list[ReportedTrial]]:
    """A campaign of ten arms and so many blocks, none of whose trials is written: they are the recorded ones, of many lengths."""
    text = QUICK.read_text().replace("saved_states: 1", "saved_states: 5").replace("viewers: 0, trials: 1", "viewers: 0")
    for most in (5, 4):
        arms = ", ".join(f"{{viewers: {viewers}}}" for viewers in range(1, most + 1))
        text = text.replace("arms: [{viewers: 1, trials: 1}]", f"arms: [{arms}]", 1)
    text += f"evidence: {{figure: total_s, blocks: {blocks}, hypotheses: [{{name: nesting, arm: nested-1, over: vm-1}}]}}\n"
    file = folder.with_suffix(".yaml")
    file.write_text(text)
    spec = load_campaign(file)
    plans = plan_trials(spec)
    # Whoever loads trials keeps their figures beside them.
    copy = Path(shutil.copytree(RECORDED, folder.with_name(f"{folder.name}-recorded")))
    recorded = {trial.stored.record.plan.scenario: trial for trial in load_trials(CampaignFolder.open(copy))}
    trials = []
    for plan in plans:
        one = recorded[plan.scenario]
        assert one.figures.total_s is not None
        record = one.stored.record.model_copy(update={"spec": spec, "plan": plan, "registration": spec.registration})
        total_s = one.figures.total_s * random.Random(plan.order).lognormvariate(0, 0.05)
        trials.append(ReportedTrial(replace(one.stored, record=record), one.figures.model_copy(update={"total_s": total_s})))
    return CampaignFolder.create(folder, spec, "a test", plans), trials
