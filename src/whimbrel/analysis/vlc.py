"""What viewers that are VLC showed, by VLC's own counters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from whimbrel.analysis.gaps import Moments
from whimbrel.analysis.phases import Moment, find
from whimbrel.analysis.playback import Stall
from whimbrel.analysis.viewers import Derived, kept_stalls, times_lost, watched_figures
from whimbrel.records.trial import TrialRecord
from whimbrel.services.client import CLIENTS

_VLC = CLIENTS["vlc_viewers"]
# Its counters are new some four times a second: what takes less than twice that is no stall.
_LEAST_STALL_S = 0.6


class VlcFigure(Derived):
    """One VLC: stalls are times in which its counter of pictures stood still.

    ``resolution_s`` is how far off each may be: the longest time, short of a stall, in which the counter stood still before the
    move; None where that was not seen. ``longest_stall_s`` is 0 without a stall, and None when the picture still stood as
    the recording ended: then ``longest_stall_at_least_s`` is what was seen. Lost are pictures, and buffers of sound, that came
    too late to be shown or played, over the whole recording.
    """

    viewer: int
    pictures: int
    pictures_lost: int
    sounds_lost: int
    connections_lost: int | None
    resolution_s: float | None
    longest_stall_s: float | None
    longest_stall_at_least_s: float | None
    startup_s: float | None
    stalls: int
    stalled_s: float | None
    stalled_at_least_s: float | None
    stalled_at_end: bool
    stalling_mos: float | None


def vlc_figures(
    record: TrialRecord, moments: Sequence[Moment], rows: pl.DataFrame | None, move: tuple[int, int] | None
) -> list[VlcFigure]:
    """Every VLC of a trial; ``move`` is from call to return, in ns, None without one. Empty when none watched."""
    if rows is None or rows.is_empty():
        return []
    stopped_ns = find(moments, _VLC.instrument, None, "stopped")
    end_ns = stopped_ns if stopped_ns is not None else int(rows.get_column("t_ns").to_numpy().max())
    return [
        _figure(moments, number, rows.filter(pl.col("viewer") == number).sort("t_ns"), move, end_ns)
        for number in range(1, record.plan.vlc_viewers + 1)
    ]


def _figure(moments: Sequence[Moment], number: int, rows: pl.DataFrame, move: tuple[int, int] | None, end_ns: int) -> VlcFigure:
    shown_ns = _shown_ns(rows)
    opened_ns = find(moments, _VLC.instrument, None, "connecting", viewer=number)
    startup_s = (int(shown_ns[0]) - opened_ns) / 1e9 if len(shown_ns) and opened_ns is not None else None
    resolution_s = _usual_s(shown_ns, move[0]) if move is not None else None
    stalls = kept_stalls(_standing(shown_ns, end_ns), move)
    at_end = len(shown_ns) > 0 and (end_ns - int(shown_ns[-1])) / 1e9 > _LEAST_STALL_S
    longest_s = max((stall.length_s for stall in stalls), default=0.0)
    last = rows.group_by("connection").agg(pl.col("pictures", "pictures_lost", "sounds_lost").max()).sum()
    return VlcFigure(
        viewer=number,
        pictures=last.item(0, "pictures"),
        pictures_lost=last.item(0, "pictures_lost"),
        sounds_lost=last.item(0, "sounds_lost"),
        connections_lost=times_lost(moments, _VLC, number),
        resolution_s=resolution_s,
        longest_stall_s=longest_s if startup_s is not None and not at_end else None,
        longest_stall_at_least_s=longest_s if at_end else None,
        **watched_figures(startup_s, stalls, at_end),
    )


def _shown_ns(rows: pl.DataFrame) -> Moments:
    """When the counter of pictures had grown, or counted its first ones of a stream that was opened again."""
    grown = rows.with_columns(before=pl.col("pictures").shift(1).over("connection").fill_null(0))
    return grown.filter(pl.col("pictures") > pl.col("before")).get_column("t_ns").to_numpy()


def _usual_s(shown_ns: Moments, called_ns: int) -> float | None:
    between_s = np.diff(shown_ns[shown_ns < called_ns]) / 1e9
    return float(max((each for each in between_s if each <= _LEAST_STALL_S), default=0.0)) or None


def _standing(shown_ns: Moments, end_ns: int) -> list[Stall]:
    """Every time without a new picture that is a stall; the last one may not have ended with the recording."""
    moments = [*shown_ns.tolist(), end_ns] if len(shown_ns) else []
    return [Stall(from_ns / 1e9, to_ns / 1e9) for from_ns, to_ns in pairwise(moments) if (to_ns - from_ns) / 1e9 > _LEAST_STALL_S]
