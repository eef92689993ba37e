"""What each viewer of a trial saw. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from whimbrel.analysis.gaps import AFTER_MOVE_NS, Gap
from whimbrel.analysis.opinion import stalling_mos
from whimbrel.analysis.phases import Moment, find
from whimbrel.analysis.playback import Arrival, Playback, Stall, play
from whimbrel.analysis.segments import Request, play_segments
from whimbrel.analysis.service_gap import served_from_ns, service_gap
from whimbrel.analysis.throughput import seconds_below
from whimbrel.records.trial import TrialRecord
from whimbrel.services.client import CLIENTS, Client

_RTMP = CLIENTS["viewers"]
# Kinds of packets that a viewer sees or hears: picture and sound. It needs both, where the stream has both.
_TRACKS = (0, 1)


class Derived(BaseModel):
    """A part of what is derived."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlaybackFigure(Derived):
    """What a viewer would have seen with a player that buffers ``buffer_s``.

    When it stood still at the end of the recording nobody knows how long it would have: ``stalled_s`` is None, and
    ``stalled_at_least_s`` what was seen. ``stalling_mos`` is None then, as of a player that never started.
    """

    buffer_s: float
    startup_s: float | None
    stalls: int
    stalled_s: float | None
    stalled_at_least_s: float | None = None
    stalled_at_end: bool
    stalling_mos: float | None


class ViewerFigure(Derived):
    """One viewer: its service gap, what silence was usual before the move, its throughput, and for how long that was low.

    ``service_gap_at_least_ms`` is how long the silence was at least when the recording ended before it did.
    ``low_s`` is the time in which it had less than ``stream.low_throughput`` of what it usually had before.
    """

    viewer: int
    service_gap_ms: float | None
    service_gap_at_least_ms: float | None = None
    usual_silence_ms: float | None
    connections_lost: int
    throughput_bytes_per_s: float | None
    low_s: float | None
    playbacks: list[PlaybackFigure]


class HlsFigure(Derived):
    """One HLS viewer: segments that came, came late, or never came, requests that failed, and what its player would have shown.

    ``missing`` segments left a hole in the film, of ``missed_s``, None where the length of one is not known.
    ``connections_lost`` is how often it saw nothing for so long that it opened the stream again; None in older records.
    """

    viewer: int
    segments: int
    late: int
    failed: int
    missing: int
    missed_s: float | None
    connections_lost: int | None
    startup_s: float | None
    stalls: int
    stalled_s: float | None
    stalled_at_least_s: float | None = None
    stalled_at_end: bool
    stalling_mos: float | None


def viewer_figures(
    record: TrialRecord,
    moments: list[Moment],
    packets: pl.DataFrame | None,
    move: tuple[int, int] | None,
    buffers_s: Sequence[float],
) -> list[ViewerFigure]:
    """Every RTMP viewer of a trial, from the packets that came; ``move`` is from call to return, in ns, None without one.

    ``buffers_s`` are the player buffers to ask about. Empty when nobody watched.
    """
    if packets is None or packets.is_empty():
        return []
    # Where the recording ended, which is later than the last packet when no more came.
    stopped_ns = find(moments, "player", None, "stopped")
    end_ns = stopped_ns if stopped_ns is not None else int(packets.get_column("arrived_ns").to_numpy().max())
    return [
        _viewer(
            record,
            moments,
            number,
            packets.filter(pl.col("viewer") == number).sort("arrived_ns"),
            move,
            end_ns,
            buffers_s,
        )
        for number in range(1, record.plan.viewers + 1)
    ]


def _viewer(
    record: TrialRecord,
    moments: list[Moment],
    number: int,
    packets: pl.DataFrame,
    move: tuple[int, int] | None,
    end_ns: int,
    buffers_s: Sequence[float],
) -> ViewerFigure:
    arrived = packets.get_column("arrived_ns").to_numpy()
    served_ns = served_from_ns(_RTMP, number, moments)
    gap, usual_ms, low_s = Gap(None), None, None
    if move is not None and served_ns is not None:
        sizes = packets.get_column("bytes").to_numpy()
        low_share = record.spec.stream.low_throughput
        window = (move[0], min(move[1] + AFTER_MOVE_NS, end_ns))
        low_s = seconds_below(arrived, sizes, low_share, (served_ns, move[0]), window)
        assert _RTMP.heard is not None
        gap, usual_ms = service_gap(record, _RTMP, _RTMP.heard, packets, served_ns, move, end_ns)
    span_s = (arrived.max() - arrived.min()) / 1e9 if len(arrived) > 1 else 0.0
    return ViewerFigure(
        viewer=number,
        service_gap_ms=gap.length_ms,
        service_gap_at_least_ms=gap.at_least_ms,
        usual_silence_ms=usual_ms,
        connections_lost=times_lost(moments, _RTMP, number) or 0,
        low_s=low_s,
        throughput_bytes_per_s=float(packets.get_column("bytes").sum()) / span_s if span_s > 0 else None,
        playbacks=_playbacks(buffers_s, _player_time(moments, "connecting", number), packets, move, end_ns),
    )


def _player_time(moments: list[Moment], name: str, viewer: int) -> int | None:
    return find(moments, "player", None, name, viewer=viewer)


def _playbacks(
    buffers_s: Sequence[float], asked_ns: int | None, packets: pl.DataFrame, move: tuple[int, int] | None, end_ns: int
) -> list[PlaybackFigure]:
    if asked_ns is None or packets.is_empty():
        return []
    found = []
    for buffer_s in buffers_s:
        playback = playback_of(packets, asked_ns, buffer_s, end_ns)
        watched = watched_figures(playback.startup_s, kept_stalls(playback.stalls, move), playback.stalled_at_end)
        found.append(PlaybackFigure(buffer_s=buffer_s, **watched))
    return found


def playback_of(packets: pl.DataFrame, asked_ns: int, buffer_s: float, end_ns: int) -> Playback:
    """Plays one viewer's packets, sorted by arrival, that it asked for at one moment, until another."""
    columns = packets.filter(pl.col("kind").is_in(_TRACKS)).select("arrived_ns", "stream_ms", "connection", "kind")
    arrivals = [
        Arrival(arrived_ns / 1e9, stream_ms / 1e3, connection, kind)
        for arrived_ns, stream_ms, connection, kind in columns.iter_rows()
    ]
    return play(arrivals, asked_ns / 1e9, buffer_s, end_ns / 1e9)


def kept_stalls(stalls: Sequence[Stall], move: tuple[int, int] | None) -> list[Stall]:
    """Without those that had ended before the move was called: they are not the move's."""
    return [stall for stall in stalls if move is None or stall.to_s * 1e9 >= move[0]]


def watched_figures(startup_s: float | None, stalls: Sequence[Stall], stalled_at_end: bool) -> dict[str, Any]:
    """Start-up and stalls as figures; a stall that had not ended with the recording has no length, only a least one."""
    stalled_s = sum(stall.length_s for stall in stalls)
    ended = startup_s is not None and not stalled_at_end
    return {
        "startup_s": startup_s,
        "stalls": len(stalls),
        "stalled_s": stalled_s if ended else None,
        "stalled_at_least_s": stalled_s if stalled_at_end else None,
        "stalled_at_end": stalled_at_end,
        "stalling_mos": stalling_mos(len(stalls), stalled_s) if ended else None,
    }


def hls_figures(record: TrialRecord, moments: list[Moment], segments: pl.DataFrame | None) -> list[HlsFigure]:
    """Every HLS viewer of a trial, from the segments it asked for; empty when nobody watched."""
    if segments is None or segments.is_empty():
        return []
    stopped_ns = find(moments, "hls player", None, "stopped") or find(moments, "player", None, "stopped")
    until_s = (stopped_ns if stopped_ns is not None else int(segments.get_column("arrived_ns").to_numpy().max())) / 1e9
    found = []
    for number in range(1, record.plan.hls_viewers + 1):
        requests = [request_of(row) for row in segments.filter(pl.col("viewer") == number).iter_rows(named=True)]
        played = play_segments(requests, record.spec.stream.hls_buffer_s, until_s)
        watched = watched_figures(played.startup_s, played.stalls, played.stalled_at_end)
        found.append(
            HlsFigure(
                viewer=number,
                segments=played.segments,
                late=played.late,
                failed=played.failed,
                missing=played.missing,
                missed_s=played.missed_s,
                connections_lost=times_lost(moments, CLIENTS["hls_viewers"], number),
                **watched,
            )
        )
    return found


def request_of(row: dict[str, Any]) -> Request:
    """A row of the log; older ones lack what ``Request`` has defaults for."""
    added = {key: row[key] for key in ("connection", "playlist", "tracks", "missing") if key in row}
    return Request(row["position"], row["length_s"], row["asked_ns"] / 1e9, row["arrived_ns"] / 1e9, row["status"], **added)


def times_lost(moments: Sequence[Moment], client: Client, viewer: int) -> int | None:
    """How often a client lost its stream; None when none of its kind said anything, as in older records."""
    said = [moment.event for moment in moments if moment.event.source == client.instrument]
    return sum(event.name == "lost" and event.data.get("viewer") == viewer for event in said) if said else None
