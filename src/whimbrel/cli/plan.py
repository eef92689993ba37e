"""``plan``: how many blocks a campaign needs to show what it is to show, and how long they take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.analysis.blocks import by_block
from whimbrel.analysis.evidence import figures_in
from whimbrel.analysis.planning import MOST_BLOCKS, BlocksNeeded, blocks_needed, spread_of
from whimbrel.analysis.ratios import log_ratios
from whimbrel.campaign import estimate_campaign_s, estimate_states_s, plan_trials
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.report.load import ReportedTrial, load_trials
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.evidence import EvidenceSpec, HypothesisSpec
from whimbrel.spec.load import load_campaign
from whimbrel.units import format_duration


@dataclass(frozen=True)
class _Need:
    """What one hypothesis takes; ``spread`` is the standard deviation of its log ratio that the plan reckons with."""

    hypothesis: HypothesisSpec
    figure: str
    spread: float
    origin: str
    blocks: BlocksNeeded

    @property
    def enough(self) -> int | None:
        """Blocks for both answers; None when one of them is out of reach."""
        counts = [self.blocks.to_tell.blocks, self.blocks.to_equate.blocks]
        return max(count for count in counts if count is not None) if None not in counts else None


def plan(
    file: Annotated[Path, typer.Argument(help="A scenario file with 'evidence', such as scenarios/referee.yaml.")],
    pilot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A campaign with the same arms, to learn the spread from.")
    ] = None,
    spread: Annotated[
        str | None, typer.Option(metavar="SHARE", help="The spread to reckon with, such as '4 %', where there is no pilot.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Says how many blocks tell the given difference apart, or show equivalence, and how long they take."""
    overrides = [f"evidence.assumed_spread={spread}"] if spread else []
    spec = load_campaign(file, overrides)
    evidence = spec.evidence
    if evidence is None or not evidence.hypotheses:
        raise UsageError(f"{file} does not say what it is to show", resolution="give it 'evidence' with 'hypotheses'")
    trials = load_trials(CampaignFolder.open(pilot)) if pilot is not None else None
    needs = [_need(evidence, hypothesis, trials) for hypothesis in evidence.hypotheses]
    _print_json(spec, evidence, needs) if as_json else _print(spec, evidence, needs)


def _need(evidence: EvidenceSpec, hypothesis: HypothesisSpec, pilot: list[ReportedTrial] | None) -> _Need:
    figure = hypothesis.figure or evidence.figure
    if pilot is not None:
        counting = [trial.trialled for trial in pilot if trial.stored.record.plan.counts and not trial.figures.spoilt]
        ours, theirs = by_block(figures_in(counting, figure), [hypothesis.arm, hypothesis.over])
        found = spread_of(log_ratios(ours, theirs))
        if found is None:
            raise UsageError(
                f"the pilot has fewer than two blocks with {figure} of {hypothesis.arm} and {hypothesis.over}",
                resolution="make a pilot of this file: 'whimbrel run FILE --repeat 3'",
            )
        spread, origin = found.upper, f"{found.spread:.3f} in {found.blocks} blocks, at most this with 80 % confidence"
    elif evidence.assumed_spread is not None:
        spread, origin = evidence.assumed_spread, "assumed"
    else:
        raise UsageError(
            "the spread is not known", resolution="give --pilot FOLDER, --spread '4 %', or 'assumed_spread' in the file"
        )
    family = len(evidence.hypotheses)
    blocks = blocks_needed(spread, evidence.difference, evidence.power, evidence.error, family, evidence.margin)
    return _Need(hypothesis, figure, spread, origin, blocks)


def _most(needs: list[_Need]) -> int | None:
    counts = [need.enough for need in needs]
    return max(count for count in counts if count is not None) if None not in counts else None


def _print_json(spec: CampaignSpec, evidence: EvidenceSpec, needs: list[_Need]) -> None:
    content = {
        "blocks_in_file": evidence.blocks,
        "blocks_needed": _most(needs),
        "hypotheses": [
            {
                "name": need.hypothesis.name,
                "figure": need.figure,
                "spread": need.spread,
                "blocks_to_tell_apart": need.blocks.to_tell.blocks,
                "blocks_to_show_equivalence": need.blocks.to_equate.blocks,
            }
            for need in needs
        ],
        "estimated_s": estimate_campaign_s(spec, plan_trials(spec)),
        "saved_states_at_most_s": estimate_states_s(plan_trials(spec)),
    }
    print(json.dumps(content, indent=1))


def _print(spec: CampaignSpec, evidence: EvidenceSpec, needs: list[_Need]) -> None:
    for need in needs:
        print(f"{need.hypothesis.name}: {need.figure} of {need.hypothesis.arm} over {need.hypothesis.over}")
        print(f"  spread of the ratio within blocks: {need.spread:.3f} ({need.origin})")
        print(f"  to tell {evidence.difference:.3g} apart: {_blocks(need.blocks.to_tell.blocks)}")
        print(f"  to show equivalence within {evidence.margin:.3g}: {_blocks(need.blocks.to_equate.blocks)}")
    most = _most(needs)
    wanted = "more blocks than can be made" if most is None else f"{most} blocks"
    verdict = (
        "enough" if most is not None and most <= evidence.blocks else "too few: set 'evidence.blocks' before the first trial"
    )
    print(f"all of it, at a power of {evidence.power:.0%}: {wanted}; the file says {evidence.blocks}, {verdict}")
    plans = plan_trials(spec)
    print(
        f"{len(plans)} trials with warm-up take about {format_duration(estimate_campaign_s(spec, plans))}; "
        f"missing saved states: up to {format_duration(estimate_states_s(plans))} more"
    )


def _blocks(count: int | None) -> str:
    return f"more than {MOST_BLOCKS} blocks" if count is None else f"{count} blocks"
