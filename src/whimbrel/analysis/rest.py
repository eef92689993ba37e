"""What a guest costs before anybody watches, from a trial's record and its samples. Pure."""

from __future__ import annotations

import numpy as np
import polars as pl

from whimbrel.analysis.counters import counter_change
from whimbrel.analysis.viewers import Derived
from whimbrel.records.trial import TrialRecord


class RestFigure(Derived):
    """What the form costs at rest; CPU in cores, of the whole QEMU process."""

    cpu_cores: float | None
    guest_memory_used_bytes: int | None
    guest_cached_bytes: int | None
    qemu_memory_bytes: int | None
    state_memory_bytes: int | None
    disk_used_bytes: int | None


def rest_figure(record: TrialRecord, hosts: pl.DataFrame | None) -> RestFigure | None:
    """Derives it; None of a trial that did not look at its guest at rest."""
    rest = record.rest
    if rest is None:
        return None
    qemu = f"qemu@{record.plan.source}"
    cpu = counter_change(hosts, qemu, "cpu_s", rest.from_ns, rest.to_ns) if hosts is not None else None
    memory = None
    if hosts is not None:
        rows = hosts.filter((pl.col("subject") == qemu) & pl.col("t_ns").is_between(rest.from_ns, rest.to_ns))
        values = rows.get_column("memory_bytes").drop_nulls().to_numpy()
        memory = int(np.median(values)) if len(values) else None
    return RestFigure(
        cpu_cores=cpu[0] / cpu[1] if cpu else None,
        guest_memory_used_bytes=rest.guest_memory_used_bytes,
        guest_cached_bytes=rest.guest_cached_bytes,
        qemu_memory_bytes=memory,
        state_memory_bytes=rest.state_memory_bytes,
        disk_used_bytes=rest.disk_used_bytes,
    )
