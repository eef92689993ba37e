"""From a trial's record and series to its figures; what is derived here can always be derived again.

Pure, but for ``figures_of``, which reads what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from whimbrel.analysis.blocks import one_figure
from whimbrel.analysis.counters import counter_growth, vcpu_wait_share
from whimbrel.analysis.course import PhaseFigure, RoundFigure, phase_figure, phases_of, round_figures
from whimbrel.analysis.exclusion import spoilt
from whimbrel.analysis.gaps import Gap, Recording
from whimbrel.analysis.guest_clock import clock_figures
from whimbrel.analysis.holes import holes_in, job_hole, probing_hole, sampling_hole
from whimbrel.analysis.phases import (
    Moment,
    Phase,
    clock_error_ns,
    clocks_known,
    container_files_bytes,
    timeline,
)
from whimbrel.analysis.rest import RestFigure, rest_figure
from whimbrel.analysis.viewers import Derived, HlsFigure, ViewerFigure, hls_figures, viewer_figures
from whimbrel.analysis.vlc import VlcFigure, vlc_figures
from whimbrel.analysis.watched import CheckFigure, watched_figures
from whimbrel.records.store import StoredTrial
from whimbrel.records.trial import MoveRecord, TrialRecord
from whimbrel.services.client import CLIENTS
from whimbrel.spec.evidence import check_in, figure_in

DERIVED_VERSION = 10
# Of a trial, all that figures are derived from beside its record.
SERIES = ("hosts", "probe", "job", *(client.series for client in CLIENTS.values()))


class HoleFigure(Derived):
    """What was not seen for too long during the move, on the monotonic clock; figures that rest on it are None."""

    what: str
    from_ns: int
    to_ns: int
    length_s: float


class MachineFigure(Derived):
    """Whether the machine was crowded: share of time that vCPUs waited for a CPU, and how late samples came."""

    vcpu_wait_share_before: float | None
    vcpu_wait_share_during: float | None
    sampler_lateness_p99_ms: float | None


class TrialFigures(Derived):
    """Everything derived from one trial. Durations are None for a move that failed, or was not measured to its end.

    ``source_cpu_s`` and ``destination_cpu_s`` are what the hosts computed from call to return, their guest's own work included.
    A gap whose end the recording did not see is None; its ``at_least`` is a lower bound of it, and no value.
    ``guest_clock_*`` are as in ``guest_clock.ClockFigures``.
    ``post_copy_faults`` are pages that the guest had to wait for (None where memory never followed it), ``throttle_percent`` is
    the most that auto-converge took of the guest's processors (None where it did not come to that).
    ``holes`` are what the instruments did not see meanwhile. ``spoilt`` says why the trial does not count (``exclusion``); it is
    empty when it does.
    """

    derived_version: int
    measured: bool
    total_s: float | None
    qemu_downtime_ms: int | None
    libvirt_downtime_ms: int | None
    blackout_ms: float | None
    blackout_error_ms: float
    reachability_gap_ms: float | None
    reachability_gap_at_least_ms: float | None = None
    reachability_usual_ms: float | None
    reachability_resolution_ms: float | None
    service_gap_ms: float | None
    service_gap_at_least_ms: float | None = None
    service_gap_usual_ms: float | None
    transferred_bytes: int | None
    disk_bytes: int | None
    link_bytes: int | None
    source_cpu_s: float | None
    destination_cpu_s: float | None
    guest_clock_before_ms: float | None = None
    guest_clock_after_ms: float | None = None
    guest_clock_set_ms: float | None = None
    guest_clock_error_ms: float | None = None
    guest_clock_lag_ms: float | None = None
    guest_clock_lag_error_ms: float | None = None
    post_copy_faults: int | None = None
    throttle_percent: int | None = None
    phases: list[PhaseFigure]
    rounds: list[RoundFigure]
    viewers: list[ViewerFigure]
    hls_viewers: list[HlsFigure]
    vlc_viewers: list[VlcFigure]
    checks: list[CheckFigure] = Field(default=[])
    machine: MachineFigure
    rest: RestFigure | None
    holes: list[HoleFigure]
    spoilt: list[str]

    def value(self, figure: str) -> float | None:
        """A figure by its name, of a check as ``NAME: FIGURE``; None when it is not known."""
        found: float | None = getattr(self._whose(figure), figure_in(figure), None)
        return found

    def at_least(self, figure: str) -> float | None:
        """The lower bound of a figure, such as ``service_gap_ms``, that is known from below only; None of every other."""
        name, _, unit = figure_in(figure).rpartition("_")
        bound: float | None = getattr(self._whose(figure), f"{name}_at_least_{unit}", None)
        return bound

    def _whose(self, figure: str) -> TrialFigures | CheckFigure | None:
        name = check_in(figure)
        return self if name is None else next((check for check in self.checks if check.name == name), None)


def figures_of(stored: StoredTrial, buffers_s: Sequence[float] = ()) -> TrialFigures:
    """A stored trial's figures, derived from its record and series; ``buffers_s`` as for ``derive``."""
    series = {name: stored.series(name) for name in SERIES}
    found = derive(stored.record, series, buffers_s)
    if (not stored.record.spec.watched and series["checks"] is None) or not stored.record.outcome.succeeded:
        return found
    return found.model_copy(update=watched_figures(stored.record, series["checks"]))


def derive(record: TrialRecord, series: Mapping[str, pl.DataFrame | None], buffers_s: Sequence[float] = ()) -> TrialFigures:
    """The figures of one trial; ``series`` by name (``SERIES``), None or absent when one was not recorded.

    ``buffers_s`` are player buffers to ask about.
    """
    hosts, probe, job, packets = (series.get(name) for name in ("hosts", "probe", "job", "packets"))
    moments = timeline(record)
    interval = _interval(record)
    measured = record.outcome.succeeded and interval is not None
    watched = interval if measured else None
    phases = phases_of(record, moments, probe, packets) if clocks_known(record) else []
    blackout = next((phase for phase in phases if phase.name == "stop-and-copy"), Phase("stop-and-copy", None, None))
    buffers = tuple(buffers_s) or record.spec.stream.player_buffers_s
    viewers = viewer_figures(record, moments, packets, watched, buffers)
    gap, usual_ms = _reachability(probe, record, watched)
    worst = _worst(viewers)
    clock = clock_figures(record)
    return TrialFigures(
        derived_version=DERIVED_VERSION,
        measured=measured,
        **vars(_of_move(record, record.move, moments, job, blackout) if measured and record.move else _OfMove()),
        blackout_error_ms=clock_error_ns(record) / 1e6,
        reachability_gap_ms=gap.length_ms,
        reachability_gap_at_least_ms=gap.at_least_ms,
        reachability_usual_ms=usual_ms,
        reachability_resolution_ms=record.spec.observe.probe_every_s * 1e3 if record.spec.observe.probe_every_s else None,
        service_gap_ms=worst.length_ms,
        service_gap_at_least_ms=worst.at_least_ms,
        service_gap_usual_ms=max((each.usual_silence_ms for each in viewers if each.usual_silence_ms is not None), default=None),
        link_bytes=_link_bytes(hosts, record) if measured else None,
        source_cpu_s=_cpu_s(hosts, record, record.plan.source) if measured else None,
        destination_cpu_s=_cpu_s(hosts, record, record.plan.destination) if measured else None,
        guest_clock_before_ms=clock.before_ms,
        guest_clock_after_ms=clock.after_ms,
        guest_clock_set_ms=clock.set_ms,
        guest_clock_error_ms=clock.error_ms,
        phases=[phase_figure(phase) for phase in phases] if record.move else [],
        rounds=round_figures(record, moments, job),
        viewers=viewers,
        hls_viewers=hls_figures(record, moments, series.get("segments")),
        vlc_viewers=vlc_figures(record, moments, series.get("vlc"), watched),
        machine=_machine(hosts, record),
        rest=rest_figure(record, hosts),
        holes=_holes(record, hosts, probe, job, interval) if measured and interval else [],
        spoilt=spoilt(record, hosts),
    )  # fmt: skip


@dataclass(frozen=True)
class _OfMove:
    """The figures that only a move has, by their names in ``TrialFigures``; None where nothing moved, or it was not measured."""

    total_s: float | None = None
    qemu_downtime_ms: int | None = None
    libvirt_downtime_ms: int | None = None
    blackout_ms: float | None = None
    transferred_bytes: int | None = None
    disk_bytes: int | None = None
    guest_clock_lag_ms: float | None = None
    guest_clock_lag_error_ms: float | None = None
    post_copy_faults: int | None = None
    throttle_percent: int | None = None


def _of_move(
    record: TrialRecord, move: MoveRecord, moments: Sequence[Moment], job: pl.DataFrame | None, blackout: Phase
) -> _OfMove:
    """Of a move that was made and measured."""
    completed, clock = move.completed or {}, clock_figures(record)
    return _OfMove(
        total_s=(move.returned_ns - move.called_ns) / 1e9,
        qemu_downtime_ms=move.qemu_downtime_ms,
        libvirt_downtime_ms=completed.get("downtime"),
        blackout_ms=blackout.length_s * 1e3 if blackout.length_s is not None else None,
        transferred_bytes=completed.get("memory_processed"),
        disk_bytes=_disk_bytes(moments, job, record),
        guest_clock_lag_ms=clock.lag_ms,
        guest_clock_lag_error_ms=clock.lag_error_ms,
        post_copy_faults=_post_copy_faults(record),
        throttle_percent=_throttle_percent(job, _interval(record)),
    )


def _post_copy_faults(record: TrialRecord) -> int | None:
    """Pages that the guest touched on the destination before they were there, and that were asked for."""
    ram = record.move.qemu_ram if record.move is not None else None
    faults = ram.get("postcopy-requests") if ram is not None and record.spec.migration.ends_as_post_copy else None
    return round(faults) if faults is not None else None


def _interval(record: TrialRecord) -> tuple[int, int] | None:
    """From the call of the move to its return; of a guest that was to stay, how long it was watched."""
    if record.move is not None:
        called_ns, returned_ns = record.move.called_ns, record.move.returned_ns
        # 0 in records of moves whose journal had no room left: when they returned is not known.
        return (called_ns, returned_ns) if returned_ns >= called_ns else None
    return (record.stay.from_ns, record.stay.to_ns) if record.stay is not None else None


def _holes(
    record: TrialRecord, hosts: pl.DataFrame | None, probe: pl.DataFrame | None, job: pl.DataFrame | None, during: tuple[int, int]
) -> list[HoleFigure]:
    return [
        HoleFigure(what=what, from_ns=hole.from_ns, to_ns=hole.to_ns, length_s=hole.length_ms / 1e3)
        for what, hole in holes_in(record, hosts, probe, job, during)
    ]


def _throttle_percent(job: pl.DataFrame | None, during: tuple[int, int] | None) -> int | None:
    """The most of it that was seen; None when it may have been more while nobody looked."""
    if job is not None and during is not None and job_hole(job, during) is not None:
        return None
    return _greatest(job, "throttle_percent")


def _reachability(probe: pl.DataFrame | None, record: TrialRecord, move: tuple[int, int] | None) -> tuple[Gap, float | None]:
    """The longest time without an answer around the move, and the longest before it, in milliseconds."""
    if probe is None or probe.is_empty() or move is None:
        return Gap(None), None
    answered = Recording(
        probe.get_column("received_ns").drop_nulls().to_numpy(), int(probe.get_column("sent_ns").to_numpy().max())
    )
    usual_ms = answered.usual_ms(move[0])
    gap = answered.gap(*move, usual_ms)
    silence = gap.silence
    if silence is not None and probing_hole(probe, record, (silence.from_ns, silence.to_ns)) is not None:
        # Nobody asked in its middle.
        return Gap(None), usual_ms
    return gap, usual_ms


def _worst(viewers: Sequence[ViewerFigure]) -> Gap:
    """The gap of a trial is its worst viewer's. Unknown for one is unknown for the trial; it is at least what any has seen."""
    length_ms = one_figure([viewer.service_gap_ms for viewer in viewers])
    if length_ms is not None:
        return Gap(length_ms)
    seen = [known for viewer in viewers for known in (viewer.service_gap_ms, viewer.service_gap_at_least_ms) if known is not None]
    return Gap(None, max(seen, default=None))


def _link_bytes(hosts: pl.DataFrame | None, record: TrialRecord) -> int | None:
    """What left the source's link during the move: memory, its protocol, a disk that moves along, and the stream."""
    interval = _interval(record)
    if hosts is None or interval is None or sampling_hole(hosts, record, record.plan.source, interval) is not None:
        return None
    grown = counter_growth(hosts, record.plan.source, "net_sent_bytes", *interval)
    return round(grown) if grown is not None else None


def _cpu_s(hosts: pl.DataFrame | None, record: TrialRecord, host: str) -> float | None:
    """Processor time of all that ran on a host during the move."""
    interval = _interval(record)
    if hosts is None or interval is None or sampling_hole(hosts, record, host, interval) is not None:
        return None
    return counter_growth(hosts, host, "cpu_s", *interval)


def _disk_bytes(moments: Sequence[Moment], job: pl.DataFrame | None, record: TrialRecord) -> int | None:
    """What QEMU's block job went through of a disk that moved along: zeroes count, though hardly any of them is sent.

    Until both disks are alike; what the guest wrote after that is not in it. Of a guest that was off, what the image on the
    destination holds. Nothing of a disk that both hosts see is copied. Of a container, the archives of what it has written.
    """
    migration = record.spec.migration
    if migration.moves == "container":
        return container_files_bytes(moments, record.plan.destination)
    if migration.storage == "shared":
        return 0
    copied = next((event for event in record.events if (event.source, event.name) == ("whimbrel", "disk copied")), None)
    if copied is not None:
        return int(copied.data["held_bytes"])
    return _greatest(job, "disk_transferred_bytes")


def _greatest(job: pl.DataFrame | None, column: str) -> int | None:
    """The greatest value in a column of the job's series, which older records need not have."""
    if job is None or column not in job.columns:
        return None
    values = job.get_column(column).drop_nulls().to_numpy()
    return int(values.max()) if len(values) else None


def _machine(hosts: pl.DataFrame | None, record: TrialRecord) -> MachineFigure:
    if hosts is None or hosts.is_empty():
        return MachineFigure(vcpu_wait_share_before=None, vcpu_wait_share_during=None, sampler_lateness_p99_ms=None)
    lateness = hosts.get_column("lateness_s").drop_nulls().to_numpy()
    interval = _interval(record)
    return MachineFigure(
        vcpu_wait_share_before=vcpu_wait_share(hosts, record, 0, interval[0]) if interval else None,
        vcpu_wait_share_during=vcpu_wait_share(hosts, record, *interval) if interval else None,
        sampler_lateness_p99_ms=float(np.quantile(lateness, 0.99)) * 1e3 if len(lateness) else None,
    )
