"""Rows for the charts, from a trial's series: times in seconds since the move was called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from whimbrel.analysis.holes import HOLE_PERIODS
from whimbrel.analysis.intervals import median_of
from whimbrel.report.load import ReportedTrial, counting_of
from whimbrel.spec.fields import HostName

Rows = list[dict[str, Any]]

# Packets closer together than this are one mark: a page need not carry what no eye can tell apart.
_MARK_MS = 20
_MIB = 2**20
# So many kinds of cost ``rest_rows`` tells at most of a trial.
KINDS_AT_REST = 5


def zero_ns(trial: ReportedTrial) -> int:
    """The moment at which the move was called."""
    move = trial.stored.record.move
    assert move is not None
    return move.called_ns


def phase_rows(trial: ReportedTrial) -> Rows:
    """A row per phase that was seen."""
    zero = zero_ns(trial)
    return [
        {
            "phase": phase.name,
            "from_s": (phase.from_ns - zero) / 1e9,
            "to_s": (phase.to_ns - zero) / 1e9,
            "length_s": phase.length_s,
        }
        for phase in trial.figures.phases
        if phase.from_ns is not None and phase.to_ns is not None
    ]


def label_of(host: HostName) -> str:
    """A host as charts name it."""
    return f"host {host}"


def host_rows(trial: ReportedTrial, hosts_shown: Sequence[HostName]) -> Rows:
    """A row per host and sample: cores busy, memory apart from page cache, rates of link and disk."""
    hosts = trial.stored.series("hosts")
    if hosts is None:
        return []
    zero = zero_ns(trial)
    longest_s = HOLE_PERIODS * trial.stored.record.spec.observe.sample_every_s
    rows: Rows = []
    for name in hosts_shown:
        rows += _rates(hosts.filter(pl.col("subject") == name).sort("t_ns"), label_of(name), zero, longest_s)
    return rows


def _rates(frame: pl.DataFrame, host: str, zero: int, longest_s: float) -> Rows:
    """Between samples that are further apart than ``longest_s`` there is a row without figures, at which a line ends."""
    elapsed_s = pl.col("t_ns").diff() / 1e9
    # A mean over a hole is no sample.
    seconds = pl.when(elapsed_s <= longest_s).then(elapsed_s)
    rates = frame.select(
        t_s=(pl.col("t_ns") - zero) / 1e9,
        cpu_cores=pl.col("cpu_s").diff() / seconds,
        memory_mib=pl.col("memory_bytes") / _MIB,
        sent_mbit_per_s=pl.col("net_sent_bytes").diff() * 8e-6 / seconds,
        received_mbit_per_s=pl.col("net_received_bytes").diff() * 8e-6 / seconds,
        read_mib_per_s=pl.col("disk_read_bytes").diff() / _MIB / seconds,
        written_mib_per_s=pl.col("disk_written_bytes").diff() / _MIB / seconds,
    ).slice(1)
    rows: Rows = []
    for row in rates.iter_rows(named=True):
        if rows and row["t_s"] - rows[-1]["t_s"] > longest_s:
            rows.append(dict.fromkeys(rows[-1]) | {"host": host, "t_s": round((rows[-1]["t_s"] + row["t_s"]) / 2, 3)})
        rows.append({"host": host, **{key: round(value, 3) if value is not None else None for key, value in row.items()}})
    return rows


def packet_rows(trial: ReportedTrial) -> Rows:
    """A mark per viewer wherever at least one media packet came."""
    packets = trial.stored.series("packets")
    if packets is None or packets.is_empty():
        return []
    zero = zero_ns(trial)
    marks = (
        packets.select("viewer", t_ms=((pl.col("arrived_ns") - zero) // (_MARK_MS * 1_000_000)) * _MARK_MS)
        .unique()
        .sort("viewer", "t_ms")
    )
    return [{"viewer": viewer, "t_s": t_ms / 1e3} for viewer, t_ms in marks.iter_rows()]


def total_rows(trials: list[ReportedTrial]) -> Rows:
    """A row per trial that counts, moved and had viewers: how many, and how long the move took."""
    return [
        {
            "series": _series(trial),
            "viewers": trial.stored.record.plan.viewers,
            "total_s": round(trial.figures.total_s, 3),
            "trial": trial.stored.record.plan.order,
        }
        for trial in counting_of(trials)
        if trial.figures.total_s is not None and trial.stored.record.plan.viewers
    ]


def total_medians(rows: Rows) -> Rows:
    """From ``total_rows``: a row per series and number of viewers, with the median, and its interval where trials are enough."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row["series"], row["viewers"]), []).append(row["total_s"])
    found = {key: median_of(values) for key, values in sorted(groups.items())}
    return [
        {
            "series": series, "viewers": viewers, "median": round(of.median, 3),
            "low": round(of.interval.low, 3) if of.interval else None,
            "high": round(of.interval.high, 3) if of.interval else None,
        }
        for (series, viewers), of in found.items()
        if of.median is not None
    ]  # fmt: skip


def _series(trial: ReportedTrial) -> str:
    """The scenario, and what its arm has of its own besides viewers."""
    record = trial.stored.record
    particulars = record.spec.particulars_of(record.spec.find_arm(record.plan.arm)[1])
    return f"{record.plan.scenario} ({particulars})" if particulars else record.plan.scenario


def rest_rows(trials: list[ReportedTrial]) -> Rows:
    """A row per trial and kind of cost at rest."""
    rows: Rows = []
    for trial in trials:
        rest = trial.figures.rest
        if rest is None:
            continue
        values = {
            "memory used in the guest (MiB)": _mib(rest.guest_memory_used_bytes),
            "memory of QEMU (MiB)": _mib(rest.qemu_memory_bytes),
            "saved state (MiB)": _mib(rest.state_memory_bytes),
            "disk used in the guest (MiB)": _mib(rest.disk_used_bytes),
            "CPU (cores)": rest.cpu_cores,
        }
        rows += [
            {"scenario": trial.stored.record.plan.scenario, "cost": cost, "value": round(value, 4)}
            for cost, value in values.items()
            if value is not None
        ]
    return rows


def _mib(size_bytes: int | None) -> float | None:
    return size_bytes / _MIB if size_bytes is not None else None
