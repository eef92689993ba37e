"""The main table: a line per arm, each cell as a reader will see it. Used by the page and by the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whimbrel.analysis.costs import instrument_costs, rest_costs
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.predictor import Accuracy, PredictorRecord
from whimbrel.analysis.summary import ArmSummary, Spread, baseline_of, published_ratio, ratio_to
from whimbrel.services.client import watched_by

UNKNOWN = "–"
_LEAST_FOR_RATE = 6


@dataclass(frozen=True)
class Column:
    """A column's heading, and what it means."""

    heading: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Headings and lines of text."""

    columns: list[Column]
    lines: list[list[str]]


def parts_of(table: Table, keys: int, most: int) -> list[Table]:
    """The table in parts of at most so many columns, for a page that is no wider; the first ``keys`` columns begin each part."""
    each = most - keys
    firsts = range(keys, len(table.columns), each)
    return [
        Table(
            [*table.columns[:keys], *table.columns[first : first + each]],
            [[*line[:keys], *line[first : first + each]] for line in table.lines],
        )
        for first in firsts
    ]


# Shown where the file says what a paper has found.
_OF_THE_PAPER = (
    Column("paper (s)", "total migration time in the paper"),
    Column("paper ratio", "the paper's total over its baseline's"),
)


# Shown where a file has viewers of VLC.
_OF_VLC = (
    Column(
        "stalls in VLC",
        "from our call on, all of them together, and the longest one: times in which VLC's own counter of pictures stood still;"
        " resolution: how long that stands still anyway, about 0.3 s (each trial's figures say it)",
    ),
)


def main_table(arms: list[ArmSummary], first_scenario: str) -> Table:
    """Times, the four figures and stalls of every arm; medians, with their intervals, or the least and the greatest of a few."""
    buffers = sorted({buffer_s for arm in arms for buffer_s in arm.stalls})
    has_vlc = any(arm.vlc_viewers for arm in arms)
    has_paper = any(arm.published_total_s is not None for arm in arms)
    columns = [
        Column("scenario", "what ran, and in what: a VM, a container in a VM, or a container on the host"),
        Column("viewers", "how many watched"),
        Column(
            "succeeded",
            "guests that moved, or stayed where they were to stay, of trials, and from six trials on the 95 % interval of"
            " their share; only what was measured to the end has durations",
        ),
        Column("total (s)", "from our call to the call's return: total migration time"),
        Column("ratio", "median total time over the first scenario's"),
        *(_OF_THE_PAPER if has_paper else ()),
        Column("QEMU downtime (ms)", "QEMU's own figure on the source (query-migrate); resolution 1 ms"),
        Column("libvirt downtime (ms)", "libvirt's figure for the completed job; resolution 1 ms"),
        Column(
            "blackout (ms)",
            "no copy executes: QEMU's STOP on the source to RESUME on the destination, or a container frozen to restored",
        ),
        Column("reachability gap (ms)", "longest time without an answer to the probe; resolution: the probe's interval"),
        Column(
            "service gap (ms)",
            "longest silence on a viewer's stream, worst viewer; resolution: the usual silence between packets. Of a service that"
            " is known by its checks: the longest time without a good answer, worst check",
        ),
        *(
            Column(
                f"stalls · MOS, {buffer_s:g} s buffer",
                "number and total length over all viewers, from our call on; mean opinion score of the worst viewer,"
                " estimated by the Hossfeld stalling model (5 is best)",
            )
            for buffer_s in buffers
        ),
        *(_OF_VLC if has_vlc else ()),
        Column("moved (MiB)", "bytes of memory sent, as libvirt reports them"),
        Column("rounds", "passes over memory before the guest was stopped"),
        Column("source CPU (s)", "processor time of all that ran there from call to return, the guest's own work included"),
        Column("destination CPU (s)", "the same of the destination"),
    ]
    base = baseline_of(arms, first_scenario)
    looks = [(_title(arm), _watched(arm)) for arm in arms]
    counts = Counter(looks)
    lines = []
    for arm, look in zip(arms, looks, strict=True):
        # Arms that would look alike are told apart by their names.
        title = look[0] if counts[look] == 1 else f"{look[0]}: {arm.name}"
        lines.append([title, *_line(arm, base, buffers, has_paper, has_vlc)])
    return Table(columns, lines)


def _title(arm: ArmSummary) -> str:
    return arm.title + (f" ({arm.particulars})" if arm.particulars else "")


def _line(arm: ArmSummary, base: ArmSummary | None, buffers: list[float], has_paper: bool, has_vlc: bool) -> list[str]:
    ratio, paper = ratio_to(base, arm), published_ratio(base, arm)
    of_the_paper = (
        f"{arm.published_total_s:.0f}" if arm.published_total_s is not None else UNKNOWN,
        f"{paper:.2f}" if paper is not None else UNKNOWN,
    )
    return [
        _watched(arm),
        _success(arm),
        show(arm.total_s, ".2f"),
        f"{ratio:.2f}" if ratio is not None else UNKNOWN,
        *(of_the_paper if has_paper else ()),
        show(arm.qemu_downtime_ms, ".0f"),
        show(arm.libvirt_downtime_ms, ".0f"),
        show(arm.blackout_ms, ".0f"),
        show(arm.reachability_gap_ms, ".0f"),
        show(arm.service_gap_ms, ".0f"),
        *(_stalls(arm, buffer_s) for buffer_s in buffers),
        *([_vlc_stalls(arm)] if has_vlc else ()),
        show(arm.transferred_bytes, ".0f", 2**20),
        show(arm.rounds, ".0f"),
        show(arm.source_cpu_s, ".1f"),
        show(arm.destination_cpu_s, ".1f"),
    ]


def _watched(arm: ArmSummary) -> str:
    """How many viewers there were, and how many of each kind that has a name: ``1 and 2 HLS``."""
    others = [f"{number} {client.called}" for client, number in watched_by(arm) if client.called]
    return " and ".join([str(arm.viewers), *others])


def _success(arm: ArmSummary) -> str:
    said = f"{arm.moved} of {arm.trials}" + (f" ({arm.measured} measured)" if arm.measured < arm.moved else "")
    interval = arm.success.interval
    # Of a few trials it says next to nothing.
    return said if interval is None or arm.trials < _LEAST_FOR_RATE else f"{said} [{interval.low:.0%} to {interval.high:.0%}]"


def rest_table(trials: Sequence[Trialled]) -> Table:
    """What each scenario costs before anybody watches, over all of its trials."""
    columns = [
        Column("scenario", "what ran, and in what: a VM, a container in a VM, or a container on the host"),
        Column("memory used in the guest (MiB)", "total less available, as the guest says"),
        Column("page cache in the guest (MiB)", "as the guest says"),
        Column("memory of QEMU (MiB)", "anonymous memory of the QEMU process"),
        Column("saved state (MiB)", "what of the guest's memory is not zero, with the state of its devices"),
        Column("disk used in the guest (MiB)", "of its root file system"),
        Column("CPU (cores)", "of the QEMU process"),
    ]
    mib = 2**20
    lines = [
        [
            cost.title,
            show(cost.guest_memory_used_bytes, ".0f", mib),
            show(cost.guest_cached_bytes, ".0f", mib),
            show(cost.qemu_memory_bytes, ".0f", mib),
            show(cost.state_memory_bytes, ".0f", mib),
            show(cost.disk_used_bytes, ".0f", mib),
            show(cost.cpu_cores, ".3f"),
        ]
        for cost in rest_costs(trials)
    ]
    return Table(columns, lines)


def _stalls(arm: ArmSummary, buffer_s: float) -> str:
    count, length = arm.stalls.get(buffer_s), arm.stalled_s.get(buffer_s)
    if count is None or length is None or count.median is None or length.known + length.unended == 0:
        return UNKNOWN
    opinion = arm.stalling_mos[buffer_s].median
    said = "none" if not count.greatest else f"{count.median:g}"
    said += f" ({length.median * 1e3:.0f} ms)" if count.greatest and length.median is not None else ""
    said += f" · {opinion:.1f}" if opinion is not None else ""
    # How long these would have been nobody knows, so they are in neither median.
    return said if length.at_least is None else f"{said}; at least {length.at_least * 1e3:.0f} ms in {length.unended}"


def _vlc_stalls(arm: ArmSummary) -> str:
    count, longest = arm.vlc_stalls, arm.vlc_longest_stall_s
    if count.median is None or longest.known + longest.unended == 0:
        return UNKNOWN
    return f"{count.median:g} (longest {show(longest, '.1f')} s)" if count.greatest else "none"


def show(spread: Spread, form: str, divisor: float = 1.0) -> str:
    """``median [95 %: low to high]``; ``[least to greatest]`` where there are too few, nothing when all are equal.

    ``at least`` the greatest lower bound comes first, where some are known from below only.
    """
    if spread.at_least is not None:
        bound = f"at least {format(spread.at_least / divisor, form)} in {spread.unended}"
        rest = show(replace(spread, unended=0, at_least=None), form, divisor)
        return bound if spread.known == 0 else f"{bound}; in {spread.known} {rest}"
    if spread.median is None or spread.least is None or spread.greatest is None:
        return UNKNOWN
    if spread.interval is not None:
        low, high = (format(value / divisor, form) for value in (spread.interval.low, spread.interval.high))
        return f"{format(spread.median / divisor, form)} [95 %: {low} to {high}]"
    median, least, greatest = (format(value / divisor, form) for value in (spread.median, spread.least, spread.greatest))
    return median if least == greatest else f"{median} [{least} to {greatest}]"


def instrument_table(trials: Sequence[Trialled]) -> Table:
    """What the instruments cost, and how late they were themselves, over all trials."""
    columns = [
        Column("instrument", "what ran beside the move"),
        Column("CPU (s per trial)", "CPU time of its process; of migration events, only the thread that looks at the job"),
        Column("late, median (ms)", "how late its own loop came round"),
        Column("late, p99 (ms)", "the same, at its 99th percentile in each trial"),
        Column("largest hole (ms)", "the longest time in a trial between two of its looks"),
    ]
    lines = [
        [
            cost.instrument,
            show(cost.cpu_s, ".2f"),
            show(cost.jitter_p50_ms, ".2f"),
            show(cost.jitter_p99_ms, ".2f"),
            show(cost.largest_hole_ms, ".0f"),
        ]
        for cost in instrument_costs(trials)
    ]
    return Table(columns, lines)


def predictor_table(record: PredictorRecord) -> Table:
    """A line per figure: how far off its predictions were, and how often its intervals held."""
    columns = [
        Column("figure", "what was predicted before the move, and measured"),
        Column("moves", "how many were both predicted and measured"),
        Column("median error", "of the absolute error, as a share of what was measured"),
        Column("95th percentile", "of the absolute error"),
        Column("bias", "median of the signed error: above 0, more was expected than came"),
        Column("inside interval", "share of moves whose figure lay within the interval that was given"),
        Column("usual interval", "half its width, as a share of what was expected; its median"),
    ]
    return Table(columns, [_accuracy(accuracy) for accuracy in record.accuracies])


def _accuracy(accuracy: Accuracy) -> list[str]:
    return [
        accuracy.figure,
        str(accuracy.trials),
        _share(accuracy.median_error),
        _share(accuracy.p95_error),
        _share(accuracy.bias, "+.1%"),
        f"{accuracy.covered:.0%}",
        f"±{accuracy.typical_width:.0%}" if accuracy.typical_width is not None else UNKNOWN,
    ]


def _share(value: float | None, form: str = ".1%") -> str:
    return format(value, form) if value is not None else UNKNOWN
