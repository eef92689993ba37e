"""A campaign's summary for a script: the numbers of the page, without its words and charts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from whimbrel.analysis.costs import instrument_costs, rest_costs
from whimbrel.analysis.evidence import Finding
from whimbrel.analysis.summary import baseline_of, published_ratio, ratio_to
from whimbrel.report.content import Report


def summary(report: Report, folder: Path) -> dict[str, object]:
    """What ``--json`` prints: whatever the page says in numbers, and where the records lie."""
    trials = [trial.trialled for trial in report.trials]
    return {
        "title": report.title,
        "folder": str(folder),
        "emulated": report.emulated,
        "limits": [
            {"arm": tick.arm, "limit": tick.limit.words, "value": tick.value, "kept": tick.kept, "reason": tick.reason}
            for tick in report.ticks
        ],
        "evidence": _evidence(report),
        "predictor": _predictor(report),
        "arms": _arms(report),
        "at_rest": [asdict(cost) for cost in rest_costs(trials)],
        "instruments": [asdict(cost) for cost in instrument_costs(trials)],
        "problems": report.problems,
    }


def _arms(report: Report) -> list[dict[str, object]]:
    base = baseline_of(report.arms, report.first_scenario)
    return [asdict(arm) | {"ratio": ratio_to(base, arm), "published_ratio": published_ratio(base, arm)} for arm in report.arms]


def _predictor(report: Report) -> dict[str, object] | None:
    record = report.predictor
    if record is None:
        return None
    return {
        "figures": [asdict(accuracy) for accuracy in record.accuracies],
        "verdicts": len(record.judged),
        "verdicts_open": record.open,
        "verdicts_wrong": [verdict.trial for verdict in record.wrong],
    }


def _evidence(report: Report) -> dict[str, object] | None:
    evidence = report.evidence
    if evidence is None:
        return None
    return {
        "registration": evidence.registration,
        "blocks": evidence.blocks,
        "blocks_promised": evidence.spec.blocks,
        "figure": evidence.spec.figure,
        "margin": evidence.spec.margin,
        "error": evidence.spec.error,
        "spoilt": evidence.spoilt,
        "verdicts": [_verdict(finding) for finding in evidence.findings],
        "verdicts_with_nothing_left_out": [_verdict(finding) for finding in evidence.undone],
    }


def _verdict(finding: Finding) -> dict[str, object]:
    return {
        "hypothesis": finding.hypothesis.name,
        "claim": finding.hypothesis.claim,
        "figure": finding.figure,
        "arm": finding.hypothesis.arm,
        "over": finding.hypothesis.over,
        "ratio": finding.verdict.ratio.ratio,
        "interval": asdict(finding.verdict.ratio.interval) if finding.verdict.ratio.interval else None,
        "p_different": finding.verdict.p_different,
        "p_equivalent": finding.verdict.p_equivalent,
        "different": finding.verdict.different,
        "equivalent": finding.verdict.equivalent,
        "blocks": finding.verdict.ratio.blocks,
        "blocks_left_out": finding.verdict.ratio.left_out,
        "medians_by_block": asdict(finding.by_block) if finding.by_block else None,
        "medians_by_state": asdict(finding.by_state) if finding.by_state else None,
        "overlap": finding.overlap,
        "unended": finding.unended,
        "more_blocks": finding.verdict.more_blocks,
        "words": finding.verdict.words,
    }
