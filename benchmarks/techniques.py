"""``python -m benchmarks.techniques FOLDER``: each arm of a campaign over the first of its scenario, as tables.

Over the one that virsh moved, where there is one. Its line has medians; every other line the Hodges-Lehmann ratio within
blocks to it, with a distribution-free interval. These are looks at the data: what a campaign is to show stands in its file
('evidence'). Needs neither root nor a lab.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from whimbrel.analysis.blocks import by_block
from whimbrel.analysis.counting import Trialled, counting
from whimbrel.analysis.evidence import figures_in
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.ratios import Ratio, ratio_of
from whimbrel.records.store import CampaignFolder
from whimbrel.spec.evidence import FigureName

# Heading, figure, how its median is shown, and the divisor to the heading's unit.
COLUMNS: tuple[tuple[str, FigureName, str, float], ...] = (
    ("total (s)", "total_s", ".1f", 1),
    ("QEMU downtime (ms)", "qemu_downtime_ms", ".0f", 1),
    ("blackout (ms)", "blackout_ms", ".0f", 1),
    ("reachability gap (ms)", "reachability_gap_ms", ".0f", 1),
    ("service gap (ms)", "service_gap_ms", ".0f", 1),
    ("link (MiB)", "link_bytes", ".0f", 2**20),
    ("CPU of source (s)", "source_cpu_s", ".1f", 1),
)


def table(trials: Sequence[Trialled], arms: Sequence[str], base: str) -> list[str]:
    """Markdown: the base's medians, then each other arm's ratios to it."""
    lines = [
        f"| arm | {' | '.join(heading for heading, *_ in COLUMNS)} |",
        f"|---{'|---' * len(COLUMNS)}|",
        f"| {base} | {' | '.join(_median(trials, base, *column[1:]) for column in COLUMNS)} |",
    ]
    for arm in arms:
        if arm != base:
            cells = (_said(_ratio(trials, arm, base, figure)) for _, figure, *_ in COLUMNS)
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _of(trials: Sequence[Trialled], arms: Sequence[str]) -> list[Trialled]:
    return [trial for trial in trials if trial.record.plan.arm in arms and trial.figures.measured]


def _median(trials: Sequence[Trialled], arm: str, figure: FigureName, form: str, divisor: float) -> str:
    known = [found.value for found in figures_in(_of(trials, [arm]), figure)]
    return format(median(known) / divisor, form) if known else "–"


def _ratio(trials: Sequence[Trialled], arm: str, over: str, figure: FigureName) -> Ratio:
    ours, theirs = by_block(figures_in(_of(trials, [arm, over]), figure), [arm, over])
    return ratio_of(ours, theirs)


def _said(found: Ratio) -> str:
    if found.ratio is None:
        return "–"
    return f"{found.ratio:.2f}" + (f" [{found.interval.low:.2f} to {found.interval.high:.2f}]" if found.interval else "")


def arms_of(trials: Sequence[Trialled]) -> dict[str, list[str]]:
    """The arms of each scenario, in the order of the file."""
    made = {trial.record.plan.arm for trial in trials}
    scenarios = trials[0].record.spec.scenarios if trials else ()
    return {scenario.name: [arm.name for arm in scenario.every_arm if arm.name in made] for scenario in scenarios}


def base_of(trials: Sequence[Trialled], arms: Sequence[str]) -> str:
    """The arm that ratios are taken to: the one that virsh moved, or else the first."""
    by_virsh = {trial.record.plan.arm for trial in trials if trial.record.spec.migration.by == "virsh"}
    return next((arm for arm in arms if arm in by_virsh), arms[0])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.techniques", description=__doc__)
    parser.add_argument("folder", type=Path, help="the results of a campaign")
    parser.add_argument("--nothing-left-out", action="store_true", help="also blocks that were spoilt, and made again")
    given = parser.parse_args()
    made = [Trialled(each.record, figures_of(each)) for each in CampaignFolder(given.folder).trials()]
    trials = made if given.nothing_left_out else counting(made)
    for scenario, arms in arms_of(trials).items():
        if arms:
            print(f"\n{scenario}\n", *table(trials, arms, base_of(trials, arms)), sep="\n")


if __name__ == "__main__":
    main()
