"""What a series of host samples says of an interval. Pure."""

from __future__ import annotations

import numpy as np
import polars as pl

from whimbrel.records.trial import TrialRecord


def counter_change(hosts: pl.DataFrame, subject: str, column: str, from_ns: int, to_ns: int) -> tuple[float, float] | None:
    """Growth of a counter in a window, and the seconds over which it was seen; None with fewer than two samples."""
    rows = hosts.filter((pl.col("subject") == subject) & pl.col("t_ns").is_between(from_ns, to_ns) & pl.col(column).is_not_null())
    if rows.height < 2:
        return None
    values, times = rows.get_column(column).to_numpy(), rows.get_column("t_ns").to_numpy()
    return float(values[-1] - values[0]), float(times[-1] - times[0]) / 1e9


def counter_growth(hosts: pl.DataFrame, subject: str, column: str, from_ns: int, to_ns: int) -> float | None:
    """Growth of a counter over a whole window, whose ends lie between two samples each.

    It is read off the line between the sample before an end and the one after it, so nothing at the edges is lost. Where the
    series begins later or ends earlier, the rate of the samples within holds for the rest. None with fewer than two of these.
    Worked example: 0 at 0 s, 10 at 1 s, 30 at 2 s; from 0.5 to 1.5 s it grew from 5 to 20, by 15.
    """
    rows = hosts.filter((pl.col("subject") == subject) & pl.col(column).is_not_null()).sort("t_ns")
    values, times = rows.get_column(column).to_numpy(), rows.get_column("t_ns").to_numpy()
    if len(times) >= 2 and times[0] <= from_ns and to_ns <= times[-1]:
        first, last = np.interp([from_ns, to_ns], times, values)
        return float(last - first)
    change = counter_change(hosts, subject, column, from_ns, to_ns)
    return change[0] / change[1] * (to_ns - from_ns) / 1e9 if change else None


def vcpu_wait_share(hosts: pl.DataFrame, record: TrialRecord, from_ns: int, to_ns: int) -> float | None:
    """The share of time that the guest's processors waited on the source for a CPU; None when it was not seen."""
    change = counter_change(hosts, f"qemu@{record.plan.source}", "run_delay_s", from_ns, to_ns)
    return change[0] / change[1] / record.spec.guest.vcpus if change else None


def other_cpu_share(hosts: pl.DataFrame, record: TrialRecord, from_ns: int, to_ns: int) -> float | None:
    """The share of the machine's CPUs that went to something else than its hosts and vantage; stolen time is among it.

    None when it was not seen, or when the hosts are not on this machine.
    """
    if record.spec.hosts is not None:
        return None
    taken = []
    for subject in ("machine", *record.spec.host_names, "vantage"):
        change = counter_change(hosts, subject, "cpu_s", from_ns, to_ns)
        if change is None:
            return None
        taken.append(change[0] / change[1])
    return max(0.0, taken[0] - sum(taken[1:])) / record.provenance.machine_cpus
