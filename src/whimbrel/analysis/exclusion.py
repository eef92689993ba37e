"""Which trials do not count: those that were spoilt before their move began, by nothing that the move did. Pure.

What happened during or after a move is never a reason: a slow or failed move is a result.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from whimbrel.analysis.figures import vcpu_wait_share
from whimbrel.records.trial import TrialRecord

# Above these the machine was busy with something else before the move. docs/evidence.md says why these values.
MOST_VCPU_WAIT_SHARE = 0.15
MOST_LATENESS_MS = 100.0


def spoilt(record: TrialRecord, hosts: pl.DataFrame | None) -> list[str]:
    """Why the trial does not count, in words; empty when it does. ``hosts`` is its series of host samples."""
    began_ns = _began_ns(record)
    if hosts is None or began_ns is None or not record.plan.counts:
        return []
    reasons = []
    wait = vcpu_wait_share(hosts, record, 0, began_ns)
    if wait is not None and wait > MOST_VCPU_WAIT_SHARE:
        reasons.append(f"before the move the guest's processors waited for a CPU {wait:.0%} of the time")
    late = hosts.filter(pl.col("t_ns") < began_ns).get_column("lateness_s").drop_nulls().to_numpy()
    if len(late) and float(np.quantile(late, 0.99)) * 1e3 > MOST_LATENESS_MS:
        reasons.append(f"before the move samples came up to {float(np.quantile(late, 0.99)) * 1e3:.0f} ms late")
    return reasons


def _began_ns(record: TrialRecord) -> int | None:
    if record.move is not None:
        return record.move.called_ns
    return record.stay.from_ns if record.stay is not None else None
