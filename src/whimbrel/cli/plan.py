"""``plan``: how many blocks a campaign needs to show what it is to show, and how long they take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.analysis.blocks import by_block
from whimbrel.analysis.counting import Trialled, counting
from whimbrel.analysis.evidence import figures_in
from whimbrel.analysis.planning import MOST_BLOCKS, BlocksNeeded, PilotSpread, blocks_needed, pooled_spread, spread_of
from whimbrel.analysis.ratios import log_ratios
from whimbrel.analysis.sign_flips import Floats
from whimbrel.campaign import estimate_campaign_s, estimate_states_s, plan_trials
from whimbrel.cli.terminal import reading, waiting
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.report.load import load_trials
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
    known_from: str
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
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Reckon with one spread for all hypotheses: for short pilots.")
    ] = False,
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
    spreads = _spreads(evidence, pilot, pooled)
    with waiting(lambda: "simulating campaigns of so many blocks"):
        needs = [_need(evidence, hypothesis, spread) for hypothesis, spread in zip(evidence.hypotheses, spreads, strict=True)]
    _print_json(spec, evidence, needs) if as_json else _print(spec, evidence, needs)


def _spreads(evidence: EvidenceSpec, pilot: Path | None, pooled: bool) -> list[tuple[float, str]]:
    """Finds for each hypothesis the spread to reckon with, and where that comes from."""
    if pilot is None:
        if evidence.assumed_spread is None:
            raise UsageError(
                "the spread is not known", resolution="give --pilot FOLDER, --spread '4 %', or 'assumed_spread' in the file"
            )
        return [(evidence.assumed_spread, "assumed")] * len(evidence.hypotheses)
    campaign = CampaignFolder.open(pilot)
    with reading(campaign) as told:
        trials = counting([trial.trialled for trial in load_trials(campaign, told=told)])
    logs = [_log_ratios(evidence, hypothesis, trials) for hypothesis in evidence.hypotheses]
    found = [pooled_spread(logs)] * len(logs) if pooled else [spread_of(each) for each in logs]
    return [
        _told(spread, hypothesis, " for all, pooled" if pooled else "")
        for spread, hypothesis in zip(found, evidence.hypotheses, strict=True)
    ]


def _log_ratios(evidence: EvidenceSpec, hypothesis: HypothesisSpec, trials: list[Trialled]) -> Floats:
    ours, theirs = by_block(figures_in(trials, hypothesis.figure or evidence.figure), [hypothesis.arm, hypothesis.over])
    return log_ratios(ours, theirs)


def _told(found: PilotSpread | None, hypothesis: HypothesisSpec, how: str) -> tuple[float, str]:
    if found is None:
        raise UsageError(
            f"the pilot has fewer than two blocks of {hypothesis.arm} and {hypothesis.over}",
            resolution="make one of this file: 'whimbrel run FILE --repeat 3'",
        )
    return found.upper, f"{found.spread:.3f} with {found.blocks - 1} degrees of freedom{how}; at most this with 80 % confidence"


def _need(evidence: EvidenceSpec, hypothesis: HypothesisSpec, spread: tuple[float, str]) -> _Need:
    family = len(evidence.hypotheses)
    blocks = blocks_needed(spread[0], evidence.difference, evidence.power, evidence.error, family, evidence.margin)
    return _Need(hypothesis, hypothesis.figure or evidence.figure, *spread, blocks)


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
        print(f"  spread of the ratio within blocks: {need.spread:.3f} ({need.known_from})")
        print(f"  to tell {evidence.difference * 100:g} % apart: {_blocks(need.blocks.to_tell.blocks)}")
        print(f"  to show equivalence within {evidence.margin * 100:g} %: {_blocks(need.blocks.to_equate.blocks)}")
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
