"""Which trials do not count: those that were spoilt before their move began, by nothing that the move did. Pure.

What happened during or after a move is never a reason: a slow or failed move is a result.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from whimbrel.analysis.counters import other_cpu_share
from whimbrel.records.trial import TrialRecord

# Above these the machine was busy with something else. A quiet one is at 0.06 and 3 ms; a compiler beside it at 0.5.
MOST_OTHER_CPU_SHARE = 0.15
MOST_LATENESS_MS = 100.0
LEAST_LINK_SHARE = 0.9
# Of an Ethernet frame of 1514 bytes, TCP with time stamps carries 1448.
_PAYLOAD_SHARE = 1448 / 1514


def spoilt(record: TrialRecord, hosts: pl.DataFrame | None) -> list[str]:
    """Why the trial does not count, in words; empty when it does. ``hosts`` is its series of host samples.

    Looked at is the time at rest, before anybody watches: later an arm with many viewers makes the machine busy itself.
    """
    rest = record.rest
    if rest is None or not record.plan.counts:
        return []
    link = _link_share(record)
    reasons = [] if link is None or link >= LEAST_LINK_SHARE else [f"at rest the link gave {link:.0%} of its rate"]
    return reasons if hosts is None else reasons + _busy(record, hosts, rest.from_ns, rest.to_ns)


def _busy(record: TrialRecord, hosts: pl.DataFrame, from_ns: int, to_ns: int) -> list[str]:
    reasons = []
    other = other_cpu_share(hosts, record, from_ns, to_ns)
    if other is not None and other > MOST_OTHER_CPU_SHARE:
        reasons.append(f"at rest something else took {other:.0%} of the machine's CPUs")
    late = hosts.filter(pl.col("t_ns").is_between(from_ns, to_ns)).get_column("lateness_s").drop_nulls().to_numpy()
    if len(late) and float(np.quantile(late, 0.99)) * 1e3 > MOST_LATENESS_MS:
        reasons.append(f"at rest samples came up to {float(np.quantile(late, 0.99)) * 1e3:.0f} ms late")
    return reasons


def _link_share(record: TrialRecord) -> float | None:
    """What the link gave of what it should give; None where nobody tried it, or where it is spoilt on purpose."""
    spoilt_on_purpose = record.spec.hosts is None and (record.spec.lab.link_loss or record.spec.lab.link_delay_s)
    if record.rest is None or record.rest.link_bytes_per_s is None or spoilt_on_purpose:
        return None
    move_link = record.spec.lab.migration_link if record.spec.hosts is None else None
    rate = move_link.link_rate_bytes_per_s if move_link else record.spec.link_rate_bytes_per_s
    return record.rest.link_bytes_per_s / (rate * _PAYLOAD_SHARE)
