"""The service gap of one client: the longest time around a move in which it was not served. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from whimbrel.analysis.gaps import Gap, Recording
from whimbrel.analysis.holes import stated_hole
from whimbrel.analysis.phases import Moment, find
from whimbrel.records.trial import TrialRecord
from whimbrel.services.client import Client, Heard

# A client's first second is left out of what is usual: what is sent ahead comes in a burst.
_AHEAD_NS = 1_000_000_000


def served_from_ns(client: Client, number: int, moments: Sequence[Moment]) -> int | None:
    """When a client was served first, its burst left out; None when it never was."""
    playing_ns = find(moments, client.instrument, None, "playing", viewer=number)
    return playing_ns + _AHEAD_NS if playing_ns is not None else None


def service_gap(
    record: TrialRecord, client: Client, heard: Heard, rows: pl.DataFrame, from_ns: int, move: tuple[int, int], end_ns: int
) -> tuple[Gap, float | None]:
    """The gap of a client, and the longest silence that was usual before, in ms; ``rows`` are its own of the series.

    ``from_ns`` is as in ``served_from_ns``, ``move`` from call to return, and the recording ended at ``end_ns``.
    """
    moments_ns = rows.get_column(heard.column).drop_nulls().to_numpy()
    usual_ms = Recording(moments_ns[moments_ns > from_ns], end_ns).usual_ms(move[0])
    gap = Recording(moments_ns, end_ns).gap(*move, usual_ms)
    silence = gap.silence
    if silence is not None and stated_hole(record, client.instrument, (silence.from_ns, silence.to_ns)) is not None:
        # What came while its program did not look was taken for one arrival.
        gap = Gap(None)
    return gap, usual_ms
