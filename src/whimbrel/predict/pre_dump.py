"""Containers: rounds of pre-dump while the service runs, then a final dump of a frozen one.

Source of the stop rules: CRIU's p.haul, phaul/iters.py: few pages left, growing, too many rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from whimbrel.predict.curve import DirtyCurve

Reason = Literal["few pages", "growing", "too many rounds"]


@dataclass(frozen=True)
class StopRules:
    """When rounds end: at most ``few_pages`` left, more than ``growth`` (a share) above the round before, or ``most_rounds``."""

    few_pages: int = 64
    growth: float = 0.1
    most_rounds: int = 8


@dataclass(frozen=True)
class PreDumpPrediction:
    """``frozen_s`` is from freezing to restored; ``rounds`` counts pre-dumps, without the final dump."""

    rounds: int
    reason: Reason
    total_s: float
    frozen_s: float
    sent_bytes: float


def predict_pre_dump(
    curve: DirtyCurve,
    bandwidth_bytes_per_s: float,
    dump_bytes_per_s: float,
    restore_s: float,
    rules: StopRules | None = None,
) -> PreDumpPrediction:
    """Pages are dumped and sent as one stream, so the slower of both decides; each dump costs at least its own pages."""
    rules = rules or StopRules()
    rate = min(bandwidth_bytes_per_s, dump_bytes_per_s)
    pages = curve.spec.pages_total - curve.spec.pages_zero
    lengths_s, sent_bytes, rounds = [], 0.0, 0
    while True:
        rounds += 1
        sent_bytes += pages * curve.page_cost_bytes
        lengths_s.append(pages * curve.page_cost_bytes / rate)
        dirtied = curve.pages(lengths_s[-1])
        reason = _reason(rules, rounds, pages, dirtied)
        pages = dirtied
        if reason is not None:
            final_bytes = pages * curve.page_cost_bytes
            frozen_s = final_bytes / rate + restore_s
            return PreDumpPrediction(rounds, reason, math.fsum(lengths_s) + frozen_s, frozen_s, sent_bytes + final_bytes)


def _reason(rules: StopRules, rounds: int, before: float, dirtied: float) -> Reason | None:
    if dirtied <= rules.few_pages:
        return "few pages"
    if dirtied > before * (1 + rules.growth):
        return "growing"
    return "too many rounds" if rounds >= rules.most_rounds else None
