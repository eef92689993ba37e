"""Which trials do not count: those that were spoilt before their move began, by nothing that the move did. Pure.

What happened during or after a move is never a reason: a slow or failed move is a result.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from whimbrel.analysis.counters import vcpu_wait_share
from whimbrel.records.trial import TrialRecord

# Above these the machine was busy with something else before the move. docs/evidence.md says why these values.
MOST_VCPU_WAIT_SHARE = 0.15
MOST_LATENESS_MS = 100.0
LEAST_LINK_SHARE = 0.9
# Of an Ethernet frame of 1514 bytes, TCP with time stamps carries 1448.
_PAYLOAD_SHARE = 1448 / 1514


def spoilt(record: TrialRecord, hosts: pl.DataFrame | None) -> list[str]:
    """Why the trial does not count, in words; empty when it does. ``hosts`` is its series of host samples."""
    if not record.plan.counts:
        return []
    link = _link_share(record)
    reasons = [] if link is None or link >= LEAST_LINK_SHARE else [f"before the move the link gave {link:.0%} of its rate"]
    began_ns = _began_ns(record)
    return reasons if hosts is None or began_ns is None else reasons + _busy(record, hosts, began_ns)


def _busy(record: TrialRecord, hosts: pl.DataFrame, began_ns: int) -> list[str]:
    reasons = []
    wait = vcpu_wait_share(hosts, record, 0, began_ns)
    if wait is not None and wait > MOST_VCPU_WAIT_SHARE:
        reasons.append(f"before the move the guest's processors waited for a CPU {wait:.0%} of the time")
    late = hosts.filter(pl.col("t_ns") < began_ns).get_column("lateness_s").drop_nulls().to_numpy()
    if len(late) and float(np.quantile(late, 0.99)) * 1e3 > MOST_LATENESS_MS:
        reasons.append(f"before the move samples came up to {float(np.quantile(late, 0.99)) * 1e3:.0f} ms late")
    return reasons


def _link_share(record: TrialRecord) -> float | None:
    """What the link gave of what it should give; None where nobody tried it, or where it is spoilt on purpose."""
    spoilt_on_purpose = record.spec.hosts is None and (record.spec.lab.link_loss or record.spec.lab.link_delay_s)
    if record.rest is None or record.rest.link_bytes_per_s is None or spoilt_on_purpose:
        return None
    move_link = record.spec.lab.migration_link if record.spec.hosts is None else None
    rate = move_link.link_rate_bytes_per_s if move_link else record.spec.link_rate_bytes_per_s
    return record.rest.link_bytes_per_s / (rate * _PAYLOAD_SHARE)


def _began_ns(record: TrialRecord) -> int | None:
    if record.move is not None:
        return record.move.called_ns
    return record.stay.from_ns if record.stay is not None else None
