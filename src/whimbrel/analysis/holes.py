"""Where an instrument did not look: a figure that rests on what was not seen is not known. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from whimbrel.analysis.gaps import Moments, Silence
from whimbrel.records.trial import TrialRecord
from whimbrel.services.client import CLIENTS

# Looks further apart than so many periods leave a hole; the probe's periods are so short that the machine's own pauses count.
HOLE_PERIODS = 5
_PROBE_PERIODS, _PROBE_S = 10, 0.05
# The job is looked at every 50 ms.
_JOB_S = 0.5


def largest_hole(looks_ns: Moments, from_ns: int, to_ns: int) -> Silence | None:
    """The longest time within a window that no look fell into: between two looks, or between a look and an end of the window.

    None when there was no look at all, in or outside the window: nobody was to look.
    """
    if not len(looks_ns):
        return None
    looks = np.sort(looks_ns)
    inside = looks[(looks > from_ns) & (looks < to_ns)]
    # What happened before the first look in it was seen if one came just before, and the other way round.
    before, after = looks[looks <= from_ns], looks[looks >= to_ns]
    first, last = (before[-1:] if len(before) else [from_ns]), (after[:1] if len(after) else [to_ns])
    moments = np.concatenate((first, inside, last)).astype(np.int64)
    longest = int(np.argmax(np.diff(moments)))
    return Silence(int(moments[longest]), int(moments[longest + 1]))


def sampling_hole(hosts: pl.DataFrame, record: TrialRecord, subject: str, window: tuple[int, int]) -> Silence | None:
    """A hole in the samples of a host, or of what runs there, within a window; None when it was sampled throughout."""
    looks = hosts.filter(pl.col("subject") == subject).get_column("t_ns").to_numpy()
    return _too_long(largest_hole(looks, *window), HOLE_PERIODS * record.spec.observe.sample_every_s)


def probing_hole(probe: pl.DataFrame, record: TrialRecord, window: tuple[int, int]) -> Silence | None:
    """A hole in the questions that the probe asked, within a window; None when it asked throughout."""
    every_s = record.spec.observe.probe_every_s or 0.0
    looks = probe.get_column("sent_ns").to_numpy()
    return _too_long(largest_hole(looks, *window), max(_PROBE_PERIODS * every_s, _PROBE_S))


def job_hole(job: pl.DataFrame, window: tuple[int, int]) -> Silence | None:
    """A hole in the looks at the move's job, between its first and its last; None when it was looked at throughout."""
    looks = job.get_column("t_ns").to_numpy()
    inside = looks[(looks >= window[0]) & (looks <= window[1])]
    return _too_long(largest_hole(inside, int(inside.min()), int(inside.max())), _JOB_S) if len(inside) else None


def stated_hole(record: TrialRecord, instrument: str, window: tuple[int, int]) -> Silence | None:
    """The largest hole that touches a window of those an instrument says it had; None when there is none, or it did not say."""
    holes = [Silence(*hole) for cost in record.instruments if cost.name == instrument for hole in cost.holes]
    touching = [hole for hole in holes if hole.to_ns > window[0] and hole.from_ns < window[1]]
    return max(touching, key=lambda hole: hole.length_ms, default=None)


def _too_long(hole: Silence | None, limit_s: float) -> Silence | None:
    return hole if hole is not None and hole.length_ms > limit_s * 1e3 else None


def holes_in(
    record: TrialRecord, hosts: pl.DataFrame | None, probe: pl.DataFrame | None, job: pl.DataFrame | None, window: tuple[int, int]
) -> Iterator[tuple[str, Silence]]:
    """What was not seen for too long within a window, and its largest hole."""
    found: list[tuple[str, Silence | None]] = []
    if hosts is not None:
        found += [(f"host {name}", sampling_hole(hosts, record, name, window)) for name in record.hosts]
    if probe is not None:
        found.append(("the guest's address", probing_hole(probe, record, window)))
    if job is not None:
        found.append(("the move's job", job_hole(job, window)))
    found += [
        (f"the {client.called} {client.noun}s".replace("  ", " "), stated_hole(record, client.instrument, window))
        for client in CLIENTS.values()
    ]
    found.append(("the witness", stated_hole(record, "witness", window)))
    return ((what, hole) for what, hole in found if hole is not None)
