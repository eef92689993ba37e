"""``python -m benchmarks.corrections FOLDER``: would a fitted correction make predictions of a campaign's moves better?

For each figure the logarithm of measured over predicted is fitted (least squares, with a small ridge) to what is known before a
move: the predicted figure, the link's rate, the rounds, whether only a limit ends it. It is judged on workloads that it has not
seen: each scenario's way to dirty memory is left out in turn, never rows at random, which would be judged by their own twins.
Needs neither root nor a lab.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from statsmodels.regression.linear_model import OLS

from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.predictor import compare
from whimbrel.records.store import CampaignFolder

# Ridge: with few workloads a line must not bend to each of them.
_RIDGE = 1.0


@dataclass(frozen=True)
class Row:
    """One figure of one move: what is known before it, and by how much the prediction was off (as a logarithm)."""

    workload: str
    known: tuple[float, ...]
    off: float


def rows_of(trials: Sequence[Trialled], figure: str) -> list[Row]:
    """Of every move whose figure was predicted and measured."""
    found = []
    for trial in trials:
        said = trial.record.prediction
        one = next((each for each in compare(trial) if each.figure == figure), None)
        if said is None or one is None or not one.measured > 0 or not one.expected.middle > 0:
            continue
        link = said.link_bytes_per_s or trial.record.spec.link_rate_bytes_per_s
        known = (1.0, math.log(one.expected.middle), math.log(link), math.log1p(said.rounds or 0), float(said.forced))
        dirtier = trial.record.spec.guest.dirtier
        found.append(Row(dirtier.model_dump_json() if dirtier else "idle", known, math.log(one.measured / one.expected.middle)))
    return found


def left_out(rows: Sequence[Row]) -> tuple[float, float]:
    """Median absolute error as a share of what was measured, without a correction and with one fitted to the other workloads."""
    without, corrected = [], []
    for workload in sorted({row.workload for row in rows}):
        seen = [row for row in rows if row.workload != workload]
        known = np.array([row.known for row in seen])
        centre, spread = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)
        centre[0], spread[0] = 0.0, 1.0
        scaled = (known - centre) / spread
        # The constant is free; statsmodels takes the penalty for each row.
        penalties = np.array([0.0, *[_RIDGE / len(seen)] * (known.shape[1] - 1)])
        fitted = OLS(np.array([row.off for row in seen]), scaled).fit_regularized(alpha=penalties, L1_wt=0.0)
        for row in rows:
            if row.workload == workload:
                by = float(((np.array(row.known) - centre) / spread) @ fitted.params)
                without.append(abs(math.expm1(-row.off)))
                corrected.append(abs(math.expm1(by - row.off)))
    return float(np.median(without)), float(np.median(corrected))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corrections", description=__doc__)
    parser.add_argument("folder", type=Path, help="the results of a campaign whose moves were predicted")
    trials = [Trialled(stored.record, figures_of(stored)) for stored in CampaignFolder(parser.parse_args().folder).trials()]
    figures = list(dict.fromkeys(one.figure for trial in trials for one in compare(trial)))
    print("| figure | moves | workloads | median error as predicted | corrected, on workloads left out |\n|---|---|---|---|---|")
    for figure in figures:
        rows = rows_of(trials, figure)
        workloads = len({row.workload for row in rows})
        if workloads > 1:
            without, corrected = left_out(rows)
            print(f"| {figure} | {len(rows)} | {workloads} | {without:.1%} | {corrected:.1%} |")


if __name__ == "__main__":
    main()
