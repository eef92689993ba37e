"""What an HLS viewer saw, from its log of segments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.analysis.playback import Stall


@dataclass(frozen=True)
class Request:
    """One request for a segment; ``status`` is HTTP's, 0 when there was no answer."""

    position: int
    length_s: float
    asked_s: float
    arrived_s: float
    status: int


@dataclass(frozen=True)
class SegmentPlayback:
    """Segments that came, how many of them came too late to be played without a stall, requests that failed, and stalls.

    ``startup_s`` is None when it never began; ``stalled_at_end`` says that it stood still when the recording ended.
    """

    segments: int
    late: int
    failed: int
    startup_s: float | None
    stalls: tuple[Stall, ...]
    stalled_at_end: bool


def play_segments(requests: Sequence[Request], buffer_s: float, until_s: float) -> SegmentPlayback:
    """Plays what came: from when ``buffer_s`` is held, on until nothing is, and again when ``buffer_s`` is held or all has come.

    Worked example: segments of 2 s at 0, 1, 2 and 9 s, buffer 4 s: plays from 1 s, is empty at 7 s (6 s of film), stalls until
    ... 9 s brings 2 s, less than the buffer: it stalls to the end unless more comes.
    """
    came = sorted((request for request in requests if request.status == 200), key=lambda request: request.arrived_s)
    held_s = 0.0
    playing_since_s: float | None = None
    stalled_since_s: float | None = None
    began_s: float | None = None
    stalls: list[Stall] = []
    late = 0
    for request in came:
        now_s = request.arrived_s
        if playing_since_s is not None:
            empty_s = playing_since_s + held_s
            if now_s > empty_s:
                late += 1
                stalled_since_s, playing_since_s, held_s = empty_s, None, 0.0
            else:
                held_s -= now_s - playing_since_s
                playing_since_s = now_s
        held_s += request.length_s
        if playing_since_s is None and held_s >= buffer_s:
            playing_since_s = now_s
            began_s = now_s if began_s is None else began_s
            if stalled_since_s is not None:
                stalls.append(Stall(stalled_since_s, now_s))
                stalled_since_s = None
    at_end = False
    if playing_since_s is not None and until_s > playing_since_s + held_s:
        stalled_since_s = playing_since_s + held_s
    if stalled_since_s is not None and stalled_since_s < until_s:
        stalls.append(Stall(stalled_since_s, until_s))
        at_end = True
    asked_s = min((request.asked_s for request in requests), default=None)
    return SegmentPlayback(
        segments=len(came),
        late=late,
        failed=sum(request.status != 200 for request in requests),
        startup_s=began_s - asked_s if began_s is not None and asked_s is not None else None,
        stalls=tuple(stalls),
        stalled_at_end=at_end,
    )
