"""``compare``: two arms of a campaign, or the same arms of two campaigns; refuses what differs in more than one thing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from whimbrel.analysis.blocks import TrialFigure, by_block
from whimbrel.analysis.counting import Trialled, by_arm, counting
from whimbrel.analysis.evidence import figures_in, unended_in
from whimbrel.analysis.intervals import Interval
from whimbrel.analysis.likeness import conditions, differences, things
from whimbrel.analysis.overlap import cliffs_delta
from whimbrel.analysis.ratios import ratio_of
from whimbrel.analysis.resampling import bootstrap, ratio_of_medians
from whimbrel.cli.terminal import reading, waiting
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.report.load import load_trials
from whimbrel.spec.evidence import CHECK_FIGURES, FIGURES, FigureName, check_in, figure_in

# Blocks of two campaigns have nothing to do with one another; so that no number is in both.
_FAR_APART = 1_000_000


@dataclass(frozen=True)
class _Comparison:
    """One ratio; ``differs`` is the one thing in which the two sides differ, and how."""

    ours: str
    over: str
    figure: FigureName
    differs: dict[str, tuple[str, str]]
    ratio: float | None
    interval: Interval | None
    overlap: float | None
    counts: tuple[int, int]
    method: str
    unended: int = 0

    @property
    def words(self) -> str:
        """The ratio, its interval, and in what the sides differ."""
        if self.ratio is None:
            return f"{self.ours} over {self.over}: nothing to compare, no block has {self.figure} of both"
        between = f" [{self.interval.low:.3f} to {self.interval.high:.3f}]" if self.interval else ", too few for an interval"
        counts = f"{self.counts[0]} and {self.counts[1]} trials"
        because = "; ".join(f"{key}: {one} against {other}" for key, (one, other) in self.differs.items()) or "nothing"
        said = f"{self.ours} over {self.over}: {self.figure} {self.ratio:.3f}{between}, {self.method}, {counts}"
        left_out = f"\n  left out: {self.unended} of which it is known from below only" if self.unended else ""
        return f"{said}\n  differs in {because}{left_out}"


def compare(
    folders: Annotated[list[Path], typer.Argument(help="One campaign, or two.")],
    arm: Annotated[str | None, typer.Option(help="The arm that is compared; of two campaigns: only this one.")] = None,
    over: Annotated[str | None, typer.Option(help="The arm it is compared with, in one campaign.")] = None,
    figure: Annotated[str, typer.Option(help="What is compared, such as total_s or service_gap_ms.")] = "total_s",
    despite: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="Compare although this differs too; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compares arms, campaigns or machines; says in what they differ, and refuses when that is more than one thing.

    These are looks at the data, not tests: what a campaign is to show belongs into its file ('evidence').
    """
    known = FIGURES if check_in(figure) is None else CHECK_FIGURES
    if figure_in(figure) not in known:
        raise UsageError(f"there is no figure {figure!r}", resolution=f"figures are {', '.join(known)}")
    found = _find(folders, arm, over, figure, frozenset(despite or []))
    if as_json:
        print(json.dumps([_plain(comparison) for comparison in found], indent=1))
    else:
        print("\n".join(comparison.words for comparison in found))


def _find(
    folders: list[Path], arm: str | None, over: str | None, figure: FigureName, despite: frozenset[str]
) -> list[_Comparison]:
    if len(folders) == 1:
        if arm is None or over is None:
            raise UsageError("one campaign has nothing to be compared with", resolution="name two of its arms: --arm A --over B")
        arms = _counting(folders[0])
        return [_within(_arm(arms, arm), _arm(arms, over), figure, despite)]
    if len(folders) > 2 or over is not None:
        raise UsageError("compare two arms of one campaign (--arm, --over), or the same arms of two campaigns")
    ours, theirs = _counting(folders[0]), _counting(folders[1])
    wanted = [arm] if arm is not None else [name for name in ours if name in theirs]
    if not wanted:
        raise UsageError(f"the campaigns have no arm in common: {', '.join(ours)}; {', '.join(theirs)}")
    names = (folders[0].resolve().name, folders[1].resolve().name)
    done: list[_Comparison] = []
    with waiting(lambda: f"{len(done):,} of {len(wanted):,} arms are compared"):
        for name in wanted:
            done.append(_between(_arm(ours, name), _arm(theirs, name), names, figure, despite))
    return done


def _counting(folder: Path) -> dict[str, list[Trialled]]:
    """The trials of each arm that count."""
    campaign = CampaignFolder.open(folder)
    with reading(campaign) as told:
        return by_arm(counting([trial.trialled for trial in load_trials(campaign, told=told)]))


def _arm(arms: dict[str, list[Trialled]], name: str) -> list[Trialled]:
    if name not in arms:
        raise UsageError(f"there is no arm {name!r}", resolution=f"arms are {', '.join(arms) or 'none'}")
    return arms[name]


def _differing(ours: list[Trialled], theirs: list[Trialled], despite: frozenset[str]) -> dict[str, tuple[str, str]]:
    """In what the two sides differ; UsageError when it is more than one thing, but for those in ``despite``."""
    found = differences(conditions(ours[0].record), conditions(theirs[0].record))
    left = things(found) - despite
    if len(left) > 1:
        raise UsageError(
            f"{ours[0].record.plan.arm} and {theirs[0].record.plan.arm} differ in more than one thing",
            details="\n".join(f"{key}: {one} against {other}" for key, (one, other) in found.items()),
            resolution=f"compare what differs in one; or say '--despite {sorted(left)[0]!r}', and know why",
        )
    return found


def _within(ours: list[Trialled], theirs: list[Trialled], figure: FigureName, despite: frozenset[str]) -> _Comparison:
    names = (ours[0].record.plan.arm, theirs[0].record.plan.arm)
    differs = _differing(ours, theirs, despite)
    one, other = figures_in(ours, figure), figures_in(theirs, figure)
    mine, its = by_block([*one, *other], names)
    ratio = ratio_of(mine, its)
    return _Comparison(
        *names, figure, differs, ratio.ratio, ratio.interval, _overlap(one, other), (len(one), len(other)),
        f"ratios within {ratio.blocks} blocks", unended_in([*ours, *theirs], figure),
    )  # fmt: skip


def _between(
    ours: list[Trialled], theirs: list[Trialled], names: tuple[str, str], figure: FigureName, despite: frozenset[str]
) -> _Comparison:
    arm = ours[0].record.plan.arm
    differs = _differing(ours, theirs, despite)
    one = [TrialFigure("ours", found.block, found.state, found.value) for found in figures_in(ours, figure)]
    other = [TrialFigure("theirs", found.block + _FAR_APART, found.state, found.value) for found in figures_in(theirs, figure)]
    drawn = bootstrap([*one, *other], ratio_of_medians("ours", "theirs")) if one and other else None
    return _Comparison(
        f"{names[0]}/{arm}", f"{names[1]}/{arm}", figure, differs, drawn.estimate if drawn else None,
        drawn.interval if drawn else None, _overlap(one, other), (len(one), len(other)), "ratio of medians, blocks drawn anew",
        unended_in([*ours, *theirs], figure),
    )  # fmt: skip


def _overlap(ours: list[TrialFigure], theirs: list[TrialFigure]) -> float | None:
    return cliffs_delta([found.value for found in ours], [found.value for found in theirs])


def _plain(comparison: _Comparison) -> dict[str, Any]:
    return asdict(comparison) | {"differs": {key: list(values) for key, values in comparison.differs.items()}}
