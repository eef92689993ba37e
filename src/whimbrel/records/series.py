"""The series of a trial: one Parquet file each, columns with their units, times in nanoseconds of the host's monotonic clock."""

from __future__ import annotations

from pathlib import Path

import polars as pl

SERIES_SCHEMA_VERSION = 1

# A row per subject and sample: hosts "a" and "b", "vantage", "qemu@a", "qemu@b", "machine". Counters are totals so far.
HOSTS_SCHEMA: dict[str, type[pl.DataType]] = {
    "t_ns": pl.Int64,
    "subject": pl.String,
    "cpu_s": pl.Float64,
    "memory_bytes": pl.Int64,
    "cache_bytes": pl.Int64,
    "net_received_bytes": pl.Int64,
    "net_sent_bytes": pl.Int64,
    "disk_read_bytes": pl.Int64,
    "disk_written_bytes": pl.Int64,
    "run_delay_s": pl.Float64,
    "lateness_s": pl.Float64,
}

# One row of it, as the samplers make it.
HostRow = dict[str, int | float | str | None]

# A row per ICMP echo; ``received_ns`` is null when no answer came.
PROBE_SCHEMA: dict[str, type[pl.DataType]] = {"sequence": pl.Int64, "sent_ns": pl.Int64, "received_ns": pl.Int64}

# A row per media packet; kind 0 is video, 1 audio, 2 anything else.
PACKETS_SCHEMA: dict[str, type[pl.DataType]] = {
    "viewer": pl.Int32,
    "connection": pl.Int32,
    "kind": pl.Int8,
    "stream_ms": pl.Int64,
    "arrived_ns": pl.Int64,
    "bytes": pl.Int64,
}

# A row per request of an HLS viewer for a segment; ``status`` is HTTP's, 0 when no whole answer came. ``playlist`` is 1 where a
# stream's sound comes apart, in a playlist of its own; ``position`` counts its segments in a connection. ``tracks`` has bit 1
# for picture and 2 for sound, 0 where no media came, and is null where that cannot be seen. A row with ``missing`` is a segment
# that was given up; ``length_s`` is null where nothing told it. Older records lack connection, playlist, tracks and missing.
SEGMENTS_SCHEMA: dict[str, type[pl.DataType]] = {
    "viewer": pl.Int32,
    "connection": pl.Int32,
    "playlist": pl.Int8,
    "position": pl.Int32,
    "length_s": pl.Float64,
    "asked_ns": pl.Int64,
    "arrived_ns": pl.Int64,
    "status": pl.Int32,
    "bytes": pl.Int64,
    "tracks": pl.Int8,
    "missing": pl.Boolean,
}

# A row per answer of a viewer that is VLC: its own counters since it opened the stream, which are new some four times a second.
# ``sounds`` are buffers of sound.
VLC_SCHEMA: dict[str, type[pl.DataType]] = {
    "viewer": pl.Int32,
    "connection": pl.Int32,
    "t_ns": pl.Int64,
    "pictures": pl.Int64,
    "pictures_lost": pl.Int64,
    "sounds": pl.Int64,
    "sounds_lost": pl.Int64,
}

# A row per look at the running job; counters as libvirt reports them. Older records lack those of the disk, and the throttle.
JOB_SCHEMA: dict[str, type[pl.DataType]] = {
    "t_ns": pl.Int64,
    "iteration": pl.Int64,
    "transferred_bytes": pl.Int64,
    "remaining_bytes": pl.Int64,
    "total_bytes": pl.Int64,
    "dirty_pages_per_s": pl.Int64,
    "normal_pages": pl.Int64,
    "constant_pages": pl.Int64,
    "disk_total_bytes": pl.Int64,
    "disk_transferred_bytes": pl.Int64,
    "disk_remaining_bytes": pl.Int64,
    "throttle_percent": pl.Int64,
}

# A row per question of 'whimbrel watch', per thing that came by itself ("heard"), and per connection that was lost ("lost"): for
# the last two all three times are one. ``check`` is the check's position in the command; other outcomes are "good", a way to
# fail, "not-sent" (this machine's own fault), and "open" (not answered yet when the watch ended): then ``ended_ns`` is null.
CHECKS_SCHEMA: dict[str, type[pl.DataType]] = {
    "check": pl.Int32,
    "due_ns": pl.Int64,
    "sent_ns": pl.Int64,
    "ended_ns": pl.Int64,
    "outcome": pl.String,
    "address": pl.String,
}


def write_series(frame: pl.DataFrame, file: str | Path) -> None:
    """Writes a series with the version of its schema among the file's metadata."""
    frame.write_parquet(file, metadata={"schema_version": str(SERIES_SCHEMA_VERSION)})
