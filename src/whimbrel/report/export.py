"""A campaign as tidy tables: a row per trial, per viewer of a trial, per viewer and player buffer, per trial and check, per trial
and instrument, and per trial and figure that was predicted.

Everything the page says of numbers can be computed from these. Columns keep their names and units in every campaign, so
tables of several campaigns can be stacked.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl

from whimbrel.analysis.predictor import compare, judge
from whimbrel.records.caller import make_folder, write_file
from whimbrel.records.trial import TrialRecord
from whimbrel.report.load import ReportedTrial

TABLES = ("trials", "viewers", "playbacks", "checks", "instruments", "predictions")

_FIGURES = {
    "total_s": pl.Float64,
    "qemu_downtime_ms": pl.Int64,
    "libvirt_downtime_ms": pl.Int64,
    "blackout_ms": pl.Float64,
    "blackout_error_ms": pl.Float64,
    "reachability_gap_ms": pl.Float64,
    "reachability_gap_at_least_ms": pl.Float64,
    "reachability_usual_ms": pl.Float64,
    "service_gap_ms": pl.Float64,
    "service_gap_at_least_ms": pl.Float64,
    "service_gap_usual_ms": pl.Float64,
    "transferred_bytes": pl.Int64,
    "disk_bytes": pl.Int64,
    "link_bytes": pl.Int64,
    "source_cpu_s": pl.Float64,
    "destination_cpu_s": pl.Float64,
    "guest_clock_before_ms": pl.Float64,
    "guest_clock_after_ms": pl.Float64,
    "guest_clock_set_ms": pl.Float64,
    "guest_clock_error_ms": pl.Float64,
    "guest_clock_lag_ms": pl.Float64,
    "guest_clock_lag_error_ms": pl.Float64,
    "post_copy_faults": pl.Int64,
    "throttle_percent": pl.Int64,
}
# How often the service of the VM and that of the container beside it reached one another.
_REACH = [f"reach_{when}_{how}" for when in ("before", "during", "after") for how in ("ok", "failed")]
# A column's name, and the figure at rest (``rest.RestFigure``) that it holds.
_AT_REST = {
    "cpu_cores": "cpu_cores",
    "memory_used_bytes": "guest_memory_used_bytes",
    "cached_bytes": "guest_cached_bytes",
    "qemu_memory_bytes": "qemu_memory_bytes",
    "state_memory_bytes": "state_memory_bytes",
    "disk_used_bytes": "disk_used_bytes",
}
_KEY = {"campaign": pl.String, "trial": pl.Int64, "arm": pl.String}
_TRIAL = _KEY | {
    "scenario": pl.String,
    "form": pl.String,
    "technique": pl.String,
    "storage": pl.String,
    "engine": pl.String,
    "moves": pl.Boolean,
    "viewers": pl.Int64,
    "hls_viewers": pl.Int64,
    "vlc_viewers": pl.Int64,
    "block": pl.Int64,
    "repeats_block": pl.Int64,
    "counts": pl.Boolean,
    "source": pl.String,
    "destination": pl.String,
    "saved_state": pl.String,
    "state_boot": pl.Int64,
    "started_at": pl.String,
    "result": pl.String,
    "measured": pl.Boolean,
    "error": pl.String,
    "known_failure": pl.String,
    "spoilt": pl.String,
    **_FIGURES,
    "rounds": pl.Int64,
    "restored_in_s": pl.Float64,
    "vcpu_wait_share_before": pl.Float64,
    "vcpu_wait_share_during": pl.Float64,
    "sampler_lateness_p99_ms": pl.Float64,
    **{f"rest_{name}": pl.Float64 if name == "cpu_cores" else pl.Int64 for name in _AT_REST},
    **dict.fromkeys(_REACH, pl.Int64),
    "guest_memory_bytes": pl.Int64,
    "guest_vcpus": pl.Int64,
    "dirty_rate_bytes_per_s": pl.Float64,
    "bitrate_bytes_per_s": pl.Float64,
    "link_rate_bytes_per_s": pl.Float64,
    "bandwidth_bytes_per_s": pl.Float64,
    "accelerator": pl.String,
    "machine_cpu": pl.String,
    "machine_kernel": pl.String,
    "whimbrel": pl.String,
    "commit": pl.String,
    "registration": pl.String,
}  # fmt: skip
_VIEWER = _KEY | {
    "viewer": pl.Int64,
    "protocol": pl.String,
    "service_gap_ms": pl.Float64,
    "service_gap_at_least_ms": pl.Float64,
    "usual_silence_ms": pl.Float64,
    "connections_lost": pl.Int64,
    "throughput_bytes_per_s": pl.Float64,
    "low_s": pl.Float64,
    "segments": pl.Int64,
    "late_segments": pl.Int64,
    "failed_segments": pl.Int64,
    "missing_segments": pl.Int64,
    "missed_s": pl.Float64,
    "pictures": pl.Int64,
    "pictures_lost": pl.Int64,
    "sounds_lost": pl.Int64,
    "longest_stall_s": pl.Float64,
    "longest_stall_at_least_s": pl.Float64,
    "resolution_s": pl.Float64,
}
_PLAYBACK = _KEY | {
    "viewer": pl.Int64,
    "protocol": pl.String,
    "buffer_s": pl.Float64,
    "startup_s": pl.Float64,
    "stalls": pl.Int64,
    "stalled_s": pl.Float64,
    "stalled_at_least_s": pl.Float64,
    "stalled_at_end": pl.Boolean,
    "stalling_mos": pl.Float64,
}
_CHECK = _KEY | {
    "check": pl.String,
    "kind": pl.String,
    "sent": pl.Int64,
    "failed": pl.Int64,
    "failures": pl.String,
    "longest_gap_ms": pl.Float64,
    "longest_gap_at_least_ms": pl.Float64,
    "gap_resolution_ms": pl.Float64,
    "usual_gap_ms": pl.Float64,
    "connections_lost": pl.Int64,
    "first_good_after_ms": pl.Float64,
    "latency_p50_ms": pl.Float64,
    "latency_p95_ms": pl.Float64,
    "latency_p99_ms": pl.Float64,
    "latency_max_ms": pl.Float64,
}
_INSTRUMENT = _KEY | {
    "instrument": pl.String,
    "cpu_s": pl.Float64,
    "jitter_p50_ms": pl.Float64,
    "jitter_p99_ms": pl.Float64,
    "largest_hole_ms": pl.Float64,
}

_PREDICTION = _KEY | {
    "figure": pl.String,
    "expected": pl.Float64,
    "least": pl.Float64,
    "most": pl.Float64,
    "measured": pl.Float64,
    "inside": pl.Boolean,
    "converges": pl.Boolean,
    "ended_by_itself": pl.Boolean,
    "link_bytes_per_s": pl.Float64,
    "learned_from": pl.Int64,
}


def tables_of(campaign: str, trials: list[ReportedTrial]) -> dict[str, pl.DataFrame]:
    """Every table of ``TABLES``, by its name; ``campaign`` is what its rows call it."""
    return {
        "trials": _frame([_trial_row(campaign, trial) for trial in trials], _TRIAL),
        "viewers": _frame([row for trial in trials for row in _viewer_rows(campaign, trial)], _VIEWER),
        "playbacks": _frame([row for trial in trials for row in _playback_rows(campaign, trial)], _PLAYBACK),
        "checks": _frame([row for trial in trials for row in _check_rows(campaign, trial)], _CHECK),
        "predictions": _frame([row for trial in trials for row in _prediction_rows(campaign, trial)], _PREDICTION),
        "instruments": _frame([row for trial in trials for row in _instrument_rows(campaign, trial)], _INSTRUMENT),
    }


def write_tables(tables: dict[str, pl.DataFrame], folder: Path) -> list[Path]:
    """Each table as CSV and as Parquet; returns the files."""
    make_folder(folder)
    files = []
    for name, frame in tables.items():
        csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
        content = io.BytesIO()
        frame.write_parquet(content)
        write_file(csv, frame.write_csv().encode())
        write_file(parquet, content.getvalue())
        files += [csv, parquet]
    return files


def _frame(rows: list[dict[str, Any]], schema: dict[str, Any]) -> pl.DataFrame:
    # What the schema does not name would be left out without a word.
    assert all(row.keys() == schema.keys() for row in rows)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _key(campaign: str, trial: ReportedTrial) -> dict[str, Any]:
    plan = trial.stored.record.plan
    return {"campaign": campaign, "trial": plan.order, "arm": plan.arm}


def _trial_row(campaign: str, trial: ReportedTrial) -> dict[str, Any]:
    figures = trial.figures
    return {
        **_key(campaign, trial),
        **_of_plan(trial.stored.record),
        **_of_outcome(trial.stored.record),
        "spoilt": "; ".join(figures.spoilt) or None,
        **{name: getattr(figures, name) for name in _FIGURES},
        "rounds": len(figures.rounds) or None,
        **figures.machine.model_dump(),
        **{f"rest_{name}": getattr(figures.rest, field) if figures.rest else None for name, field in _AT_REST.items()},
        **_of_setting(trial.stored.record),
    }


def _of_plan(record: TrialRecord) -> dict[str, Any]:
    plan, spec = record.plan, record.spec
    return {
        "scenario": plan.scenario,
        "form": plan.form,
        "technique": spec.migration.technique if plan.moves else None,
        "storage": spec.migration.storage,
        "engine": plan.engine,
        "moves": plan.moves,
        "viewers": plan.viewers,
        "hls_viewers": plan.hls_viewers,
        "vlc_viewers": plan.vlc_viewers,
        "block": plan.block,
        "repeats_block": plan.repeats,
        "counts": plan.counts,
        "source": plan.source,
        "destination": plan.destination if plan.moves else plan.source,
        "state_boot": plan.state_boot,
    }


def _of_outcome(record: TrialRecord) -> dict[str, Any]:
    outcome, reach = record.outcome, record.reach
    return {
        "result": outcome.result,
        "measured": outcome.measured,
        "error": outcome.error,
        "known_failure": outcome.known_failure,
        "restored_in_s": record.restored_in_s,
        **{name: getattr(reach, name.removeprefix("reach_")) if reach else None for name in _REACH},
    }


def _of_setting(record: TrialRecord) -> dict[str, Any]:
    spec, where = record.spec, record.provenance
    return {
        "guest_memory_bytes": spec.guest.memory_bytes,
        "guest_vcpus": spec.guest.vcpus,
        "dirty_rate_bytes_per_s": spec.guest.dirtier.rate_bytes_per_s if spec.guest.dirtier else None,
        "bitrate_bytes_per_s": spec.stream.bitrate_bytes_per_s,
        "link_rate_bytes_per_s": spec.link_rate_bytes_per_s,
        "bandwidth_bytes_per_s": spec.migration.bandwidth_set_bytes_per_s,
        "accelerator": where.accelerator,
        "machine_cpu": where.machine_cpu,
        "machine_kernel": where.machine_kernel,
        "whimbrel": where.whimbrel,
        "commit": where.commit,
        "registration": record.registration,
        "saved_state": where.saved_state,
        "started_at": where.started_at,
    }


def _viewer_rows(campaign: str, trial: ReportedTrial) -> list[dict[str, Any]]:
    key = _key(campaign, trial)
    unknown = key | dict.fromkeys(_VIEWER.keys() - _KEY.keys())
    rows = [unknown | {"protocol": "rtmp"} | viewer.model_dump(include=set(_VIEWER)) for viewer in trial.figures.viewers]
    rows += [
        unknown | {"protocol": "rtmp in VLC"} | viewer.model_dump(include=set(_VIEWER)) for viewer in trial.figures.vlc_viewers
    ]
    return rows + [
        unknown
        | {"viewer": viewer.viewer, "protocol": "hls", "segments": viewer.segments, "late_segments": viewer.late,
           "failed_segments": viewer.failed, "missing_segments": viewer.missing, "missed_s": viewer.missed_s,
           "connections_lost": viewer.connections_lost}
        for viewer in trial.figures.hls_viewers
    ]  # fmt: skip


def _playback_rows(campaign: str, trial: ReportedTrial) -> list[dict[str, Any]]:
    key = _key(campaign, trial)
    rows = [
        key | {"viewer": viewer.viewer, "protocol": "rtmp"} | playback.model_dump()
        for viewer in trial.figures.viewers
        for playback in viewer.playbacks
    ]
    rows += [
        key | {"viewer": viewer.viewer, "protocol": "rtmp in VLC", "buffer_s": None}
        | viewer.model_dump(include=_PLAYBACK.keys() - {"buffer_s"})
        for viewer in trial.figures.vlc_viewers
    ]  # fmt: skip
    return rows + [
        key
        | {"viewer": viewer.viewer, "protocol": "hls", "buffer_s": trial.stored.record.spec.stream.hls_buffer_s}
        | viewer.model_dump(include=_PLAYBACK.keys() - {"buffer_s"})
        for viewer in trial.figures.hls_viewers
    ]


def _check_rows(campaign: str, trial: ReportedTrial) -> list[dict[str, Any]]:
    return [
        _key(campaign, trial)
        | {"check": check.name, "failures": " ".join(f"{kind}={count}" for kind, count in sorted(check.failures.items()))}
        | check.model_dump(exclude={"name", "failures"})
        for check in trial.figures.checks
    ]


def _prediction_rows(campaign: str, trial: ReportedTrial) -> list[dict[str, Any]]:
    """Seconds, or bytes for ``bytes sent``."""
    prediction = trial.stored.record.prediction
    if prediction is None:
        return []
    judged = judge(trial.trialled)
    of_move = {
        "converges": prediction.converges,
        "ended_by_itself": judged.ended if judged is not None else None,
        "link_bytes_per_s": prediction.link_bytes_per_s,
        "learned_from": prediction.learned_from,
    }
    return [
        _key(campaign, trial)
        | {"figure": found.figure, "expected": found.expected.middle, "least": found.expected.least,
           "most": found.expected.most, "measured": found.measured, "inside": found.inside}
        | of_move
        for found in compare(trial.trialled)
    ]  # fmt: skip


def _instrument_rows(campaign: str, trial: ReportedTrial) -> list[dict[str, Any]]:
    key = _key(campaign, trial)
    return [
        key
        | {
            "instrument": cost.name,
            "cpu_s": cost.cpu_s,
            "jitter_p50_ms": cost.jitter_p50_ms,
            "jitter_p99_ms": cost.jitter_p99_ms,
            "largest_hole_ms": cost.largest_hole_ms,
        }
        for cost in trial.stored.record.instruments
    ]
