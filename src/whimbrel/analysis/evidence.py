"""What a campaign shows of what it set out to show: a verdict on each hypothesis, from whole blocks, at the promised n. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from whimbrel.analysis.blocks import TrialFigure, by_block
from whimbrel.analysis.counting import Trialled, spoilt_blocks
from whimbrel.analysis.overlap import cliffs_delta
from whimbrel.analysis.resampling import Resampled, bootstrap, ratio_of_medians
from whimbrel.analysis.verdicts import Comparison, Verdict, judge
from whimbrel.spec.evidence import EvidenceSpec, FigureName, HypothesisSpec


@dataclass(frozen=True)
class Finding:
    """One hypothesis and its verdict; beside it the ratio of medians, with blocks and with saved states drawn anew.

    ``overlap`` is Cliff's delta of the two arms' figures. None of these where no block has both figures. Of ``unended`` trials
    only a lower bound of the figure is known, which is no value and does not count.
    """

    hypothesis: HypothesisSpec
    figure: FigureName
    verdict: Verdict
    by_block: Resampled | None
    by_state: Resampled | None
    overlap: float | None
    unended: int = 0


@dataclass(frozen=True)
class Evidence:
    """What has been made of what was promised; no ``findings`` before ``blocks`` are as many as that.

    ``spoilt`` has the blocks that do not count, and why. ``undone`` are the findings had nothing been excluded: empty when
    nothing was.
    """

    spec: EvidenceSpec
    registration: str
    blocks: int
    spoilt: dict[int, list[str]]
    findings: list[Finding]
    undone: list[Finding]

    @property
    def complete(self) -> bool:
        """Whether the tests may be made."""
        return self.blocks >= self.spec.blocks

    @property
    def words(self) -> list[str]:
        """A sentence per hypothesis; one sentence when it is too early for any."""
        if not self.complete:
            left_out = f" ({len(self.spoilt)} more were spoilt)" if self.spoilt else ""
            return [
                f"No verdict: {self.blocks} of {self.spec.blocks} blocks are made{left_out}, and the tests are made when all are."
            ]
        return [_said(finding) for finding in self.findings]


def _said(finding: Finding) -> str:
    claim, left_out = finding.hypothesis.claim.rstrip("."), finding.verdict.ratio.left_out
    words = finding.verdict.words
    if left_out:
        words += f" {left_out} block{'s' if left_out > 1 else ''} had no {finding.figure} of both arms."
    if finding.unended:
        trials = "1 trial" if finding.unended == 1 else f"{finding.unended} trials"
        words += f" Of {trials} it is known from below only: those left out may be the longest."
    return f"{claim} – {words}" if claim else words


def evidence_of(trials: Sequence[Trialled], arms: Collection[str]) -> Evidence | None:
    """What the trials of a campaign with these arms show; None when its file does not say what it is to show."""
    first = next((trial.record for trial in trials), None)
    if first is None or first.spec.evidence is None or first.registration is None:
        return None
    spec = first.spec.evidence
    made = [trial for trial in trials if trial.record.plan.counts]
    whole = _whole_blocks(made, arms)
    spoilt = spoilt_blocks(trials)
    good = sorted(whole - spoilt.keys())[: spec.blocks]
    planned = sorted({trial.record.plan.block for trial in made if trial.record.plan.repeats is None} & whole)[: spec.blocks]
    return Evidence(
        spec=spec,
        registration=first.registration,
        blocks=len(good),
        spoilt=spoilt,
        findings=_findings(spec, made, set(good)) if len(good) >= spec.blocks else [],
        undone=_findings(spec, made, set(planned)) if spoilt and len(planned) >= spec.blocks else [],
    )


def _whole_blocks(trials: Sequence[Trialled], arms: Collection[str]) -> set[int]:
    """The blocks that hold every arm. A trial that failed is there; its figures are not."""
    found: dict[int, set[str]] = {}
    for trial in trials:
        found.setdefault(trial.record.plan.block, set()).add(trial.record.plan.arm)
    return {block for block, present in found.items() if present == set(arms)}


def _findings(spec: EvidenceSpec, trials: Sequence[Trialled], blocks: set[int]) -> list[Finding]:
    chosen = [trial for trial in trials if trial.record.plan.block in blocks]
    figures = [hypothesis.figure or spec.figure for hypothesis in spec.hypotheses]
    comparisons = []
    for hypothesis, figure in zip(spec.hypotheses, figures, strict=True):
        ours, theirs = by_block(figures_in(chosen, figure), [hypothesis.arm, hypothesis.over])
        comparisons.append(Comparison(hypothesis.name, ours, theirs))
    verdicts = judge(comparisons, spec.margin, spec.error)
    return [
        replace(
            _finding(hypothesis, figure, verdict, figures_in(chosen, figure)),
            unended=unended_in([trial for trial in chosen if trial.record.plan.arm in (hypothesis.arm, hypothesis.over)], figure),
        )
        for hypothesis, figure, verdict in zip(spec.hypotheses, figures, verdicts, strict=True)
    ]


def _finding(hypothesis: HypothesisSpec, figure: FigureName, verdict: Verdict, figures: list[TrialFigure]) -> Finding:
    pair = [found for found in figures if found.arm in (hypothesis.arm, hypothesis.over)]
    if verdict.ratio.blocks == 0:
        return Finding(hypothesis, figure, verdict, None, None, None)
    statistic = ratio_of_medians(hypothesis.arm, hypothesis.over)
    return Finding(
        hypothesis,
        figure,
        verdict,
        by_block=bootstrap(pair, statistic, ("block",)),
        by_state=bootstrap(pair, statistic, ("state",)),
        overlap=cliffs_delta(_of(pair, hypothesis.arm), _of(pair, hypothesis.over)),
    )


def _of(figures: list[TrialFigure], arm: str) -> list[float]:
    return [found.value for found in figures if found.arm == arm]


def figures_in(trials: Sequence[Trialled], figure: FigureName) -> list[TrialFigure]:
    """One figure of each trial that has it; 0, which whole milliseconds may round to, has no ratio and counts as unknown."""
    found = []
    for trial in trials:
        value = trial.figures.value(figure)
        if value:
            plan = trial.record.plan
            found.append(TrialFigure(plan.arm, plan.block, trial.record.provenance.saved_state, float(value)))
    return found


def unended_in(trials: Sequence[Trialled], figure: FigureName) -> int:
    """Of how many trials only a lower bound of the figure is known: their recording ended before what was measured did."""
    return sum(trial.figures.at_least(figure) is not None for trial in trials)
