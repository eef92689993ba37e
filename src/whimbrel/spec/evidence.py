"""What a campaign is to show, written down before its first trial: figure, hypotheses, margin, and how many blocks."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from whimbrel.spec.arms import ArmName
from whimbrel.spec.fields import Count, MisfitError, Name, Share, Spec, Words

FIGURES = (
    "total_s",
    "qemu_downtime_ms",
    "libvirt_downtime_ms",
    "blackout_ms",
    "reachability_gap_ms",
    "service_gap_ms",
    "transferred_bytes",
    "link_bytes",
    "source_cpu_s",
    "destination_cpu_s",
)
# Of a single check, written ``NAME: FIGURE``.
CHECK_FIGURES = (
    "longest_gap_ms",
    "failed",
    "connections_lost",
    "first_good_after_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_max_ms",
)
_OF_A_CHECK = ": "


def check_in(figure: str) -> str | None:
    """The name of the check whose figure it is; None of a figure of the move."""
    name, colon, _ = figure.rpartition(_OF_A_CHECK)
    return name if colon else None


def figure_in(figure: str) -> str:
    """The figure without the name of its check, if it has one."""
    return figure.rpartition(_OF_A_CHECK)[2]


def _figure(value: str) -> str:
    known = FIGURES if check_in(value) is None else CHECK_FIGURES
    if figure_in(value) not in known:
        near = difflib.get_close_matches(figure_in(value), known, n=1)
        more = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{value!r} is no figure{more} figures are {', '.join(FIGURES)}; of a check, 'NAME: {CHECK_FIGURES[0]}'")
    return value


FigureName = Annotated[str, AfterValidator(_figure)]
_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)\s*")
_STATISTIC = re.compile(r"min|max|p[0-9]{1,2}")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class HypothesisSpec(Spec):
    """A claim about two arms: the figure of ``arm`` over that of ``over``, within each block."""

    name: Name
    claim: Words = Field(default="", max_length=300)
    arm: ArmName
    over: ArmName
    figure: FigureName | None = None

    @model_validator(mode="after")
    def _two_arms(self) -> Self:
        if self.arm == self.over:
            raise MisfitError("is the same arm as 'arm'", "over")
        return self


class EvidenceSpec(Spec):
    """The plan of the analysis.

    ``difference`` is the smallest that matters, to be found with ``power``; within ``margin`` two arms count as equivalent;
    ``error`` is how often a difference may be seen where there is none, over the whole family of hypotheses. ``blocks`` is n:
    each holds every arm once. Tests are made when all are done, and not before. A trial that was spoilt before its move began
    is excluded and its block repeated, ``repeats`` times at most. ``assumed_spread`` is the standard deviation of a
    within-block ratio, for planning where there is no pilot.
    """

    figure: FigureName = "total_s"
    difference: Share = Field(default=0.07, gt=0, le=10)
    margin: Share = Field(default=0.05, gt=0, le=10)
    power: Share = Field(default=0.8, gt=0.05, lt=1)
    error: Share = Field(default=0.05, gt=0, lt=0.5)
    blocks: Count = Field(default=12, ge=1, le=1000)
    warm_up_blocks: Count = Field(default=1, ge=0, le=20)
    repeats: Count = Field(default=3, ge=0, le=100)
    assumed_spread: Share | None = Field(default=None, gt=0, le=10)
    hypotheses: tuple[HypothesisSpec, ...] = Field(default=(), max_length=50)

    @property
    def figures(self) -> list[str]:
        """Every figure that a hypothesis is on."""
        return [hypothesis.figure or self.figure for hypothesis in self.hypotheses]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [hypothesis.name for hypothesis in self.hypotheses]
        if len(set(names)) < len(names):
            raise MisfitError(f"two have the same name: {', '.join(names)}", "hypotheses")
        return self


@dataclass(frozen=True)
class Limit:
    """A threshold: ``statistic`` of ``figure`` (without one: the figure) stands in the relation ``sign`` to ``bound``."""

    figure: str
    statistic: str
    sign: str
    bound: float

    def keeps(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return _COMPARE[self.sign](value, self.bound)

    @property
    def words(self) -> str:
        """The limit as it stands in the file."""
        what = f"{self.statistic} of {self.figure}" if self.statistic else self.figure
        return f"{what} {self.sign} {self.bound:g}"


def parse_bound(text: str) -> tuple[str, float] | None:
    """A sign and a number, such as ``< 500``; None when it is not that."""
    match = _LIMIT.fullmatch(text)
    return (match[1], float(match[2])) if match is not None else None


def _limits(value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    for figure, limits in value.items():
        try:
            _figure(figure)
        except ValueError as error:
            raise MisfitError(str(error), figure) from error
        for statistic, text in limits.items():
            if not _STATISTIC.fullmatch(statistic):
                raise MisfitError("is no statistic: min, max, or p50 and its like", figure, statistic)
            if parse_bound(text) is None:
                raise MisfitError(f"{text!r} is no limit: write a sign and a number, such as '< 500'", figure, statistic)
    return value


Thresholds = Annotated[dict[str, dict[str, str]], AfterValidator(_limits)]


def limits_of(thresholds: Mapping[str, Mapping[str, Any]]) -> list[Limit]:
    """Every threshold of a file, in its order."""
    found = []
    for figure, limits in thresholds.items():
        for statistic, text in limits.items():
            bound = parse_bound(text)
            assert bound is not None
            found.append(Limit(figure, statistic, *bound))
    return found
