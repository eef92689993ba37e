"""What a series of host samples says of an interval. Pure."""

from __future__ import annotations

import polars as pl

from whimbrel.records.trial import TrialRecord


def counter_change(hosts: pl.DataFrame, subject: str, column: str, from_ns: int, to_ns: int) -> tuple[float, float] | None:
    """Growth of a counter in a window, and the seconds over which it was seen; None with fewer than two samples."""
    rows = hosts.filter((pl.col("subject") == subject) & pl.col("t_ns").is_between(from_ns, to_ns) & pl.col(column).is_not_null())
    if rows.height < 2:
        return None
    values, times = rows.get_column(column).to_numpy(), rows.get_column("t_ns").to_numpy()
    return float(values[-1] - values[0]), float(times[-1] - times[0]) / 1e9


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
    for subject in ("machine", "a", "b", "vantage"):
        change = counter_change(hosts, subject, "cpu_s", from_ns, to_ns)
        if change is None:
            return None
        taken.append(change[0] / change[1])
    return max(0.0, taken[0] - sum(taken[1:])) / record.provenance.machine_cpus
