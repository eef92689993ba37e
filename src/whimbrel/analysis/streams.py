"""What the player of a watched stream would have shown, from what came. Pure.

The model is that of viewers in trials: ``playback`` for packets of RTMP, ``segments`` for HLS, ``opinion`` for the MOS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from whimbrel.analysis.segments import play_segments
from whimbrel.analysis.viewers import kept_stalls, playback_of, request_of, watched_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whimbrel.analysis.answers import Window
    from whimbrel.analysis.playback import Stall


@dataclass(frozen=True)
class StreamFigures:
    """What a player that buffers ``buffer_s`` would have shown from the move's start on; start-up counts from the watch's.

    A stall that had not ended with the watch has no length: then ``stalled_s`` and ``stalling_mos`` are None, and
    ``stalled_at_least_s`` is what was seen. Segments that never came are of HLS, None for RTMP; ``missed_s`` is also None
    where the length of one is not known. ``moments`` are the stalls.
    """

    buffer_s: float
    startup_s: float | None
    stalls: int
    stalled_s: float | None
    stalled_at_least_s: float | None
    stalled_at_end: bool
    stalling_mos: float | None
    missing_segments: int | None
    missed_s: float | None
    moments: tuple[Stall, ...]


def packet_figures(packets: pl.DataFrame, buffer_s: float, since_ns: int, window: Window) -> StreamFigures:
    """Figures of an RTMP stream (``series.PACKETS_SCHEMA``) that was asked for at ``since_ns``, before this move or another."""
    came = packets.filter(pl.col("arrived_ns").is_between(since_ns, window.ended_ns)).sort("arrived_ns")
    playback = playback_of(came, since_ns, buffer_s, window.ended_ns)
    stalls = kept_stalls(playback.stalls, window.move)
    return _figures(buffer_s, playback.startup_s, stalls, playback.stalled_at_end, None)


def segment_figures(segments: pl.DataFrame, buffer_s: float, since_ns: int, window: Window) -> StreamFigures:
    """Figures of an HLS stream (``series.SEGMENTS_SCHEMA``) that was asked for at ``since_ns``, before this move or another."""
    asked = segments.filter((pl.col("asked_ns") >= since_ns) & (pl.col("arrived_ns") <= window.ended_ns))
    played = play_segments([request_of(row) for row in asked.iter_rows(named=True)], buffer_s, window.ended_ns / 1e9)
    missing = asked.filter(pl.col("missing") & (pl.col("asked_ns") >= window.move[0])).get_column("length_s").to_list()
    stalls = kept_stalls(played.stalls, window.move)
    return _figures(buffer_s, played.startup_s, stalls, played.stalled_at_end, missing)


def _figures(
    buffer_s: float, startup_s: float | None, stalls: Sequence[Stall], at_end: bool, missing: Sequence[float | None] | None
) -> StreamFigures:
    lengths_s = [length_s for length_s in missing or () if length_s is not None]
    known = missing is not None and len(lengths_s) == len(missing)
    return StreamFigures(
        buffer_s=buffer_s,
        missing_segments=len(missing) if missing is not None else None,
        missed_s=sum(lengths_s) if known else None,
        moments=tuple(stalls),
        **watched_figures(startup_s, stalls, at_end),
    )
