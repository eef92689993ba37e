"""What an HLS viewer saw, from its log of segments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whimbrel.analysis.playback import Arrival, Stall, play

# Bits of what a segment holds, and which of them a viewer waits for.
_BITS = (1, 2)
_CAME = (200, 206)


@dataclass(frozen=True)
class Request:
    """One request for a segment; ``status`` is HTTP's, 0 when there was no whole answer.

    ``tracks`` has bit 1 for picture and 2 for sound, 0 when no media came, and is None when that was not seen. ``missing``
    stands for a segment that was given up, whose length may be unknown.
    """

    position: int
    length_s: float | None
    asked_s: float
    arrived_s: float
    status: int
    connection: int = 0
    playlist: int = 0
    tracks: int | None = None
    missing: bool = False

    @property
    def came(self) -> bool:
        """Whether it brought media."""
        return self.status in _CAME and self.tracks != 0


@dataclass(frozen=True)
class SegmentPlayback:
    """Segments that came, how many of them came too late to be played without a stall, requests that failed, and stalls.

    ``missing`` segments never came and left a hole in the film, of ``missed_s``, None where the length of one is not known.
    ``startup_s`` is None when it never began; ``stalled_at_end`` says that it stood still when the recording ended.
    """

    segments: int
    late: int
    failed: int
    missing: int
    missed_s: float | None
    startup_s: float | None
    stalls: tuple[Stall, ...]
    stalled_at_end: bool


def play_segments(requests: Sequence[Request], buffer_s: float, until_s: float) -> SegmentPlayback:
    """Plays what came: from when ``buffer_s`` is held, on until nothing is, and again when ``buffer_s`` is held.

    A viewer whose stream has picture and sound needs both, whichever playlist they come from. A hole is no stall.

    Worked example: segments of 2 s at 0, 1, 2 and 9 s, buffer 4 s: plays from 1 s, is empty at 7 s (6 s of film), stalls until
    ... 9 s brings 2 s, less than the buffer: it stalls to the end unless more comes.
    """
    came = sorted((request for request in requests if request.came), key=lambda request: request.arrived_s)
    given_up = [request for request in requests if request.missing]
    missed_s = [request.length_s for request in given_up if request.length_s is not None]
    asked_s = min((request.asked_s for request in requests if not request.missing), default=until_s)
    played = play(list(_arrivals(requests, came)), asked_s, buffer_s, until_s)
    return SegmentPlayback(
        segments=len(came),
        late=sum(any(stall.from_s < request.arrived_s <= stall.to_s for request in came) for stall in played.stalls),
        failed=sum(not request.came and not request.missing for request in requests),
        missing=len(given_up),
        missed_s=sum(missed_s) if len(missed_s) == len(given_up) else None,
        startup_s=played.startup_s,
        stalls=played.stalls,
        stalled_at_end=played.stalled_at_end,
    )


def _arrivals(requests: Sequence[Request], came: Sequence[Request]) -> Iterator[Arrival]:
    """Each segment is there at once, from its beginning to its end, for each track that it holds."""
    begin_s = _begins(requests)
    of_playlist: dict[int, int] = {}
    for request in came:
        of_playlist[request.playlist] = of_playlist.get(request.playlist, 0) | (request.tracks or 0)
    for request in came:
        # One that nobody could look into is taken for whole.
        tracks = of_playlist[request.playlist] if request.tracks is None else request.tracks
        at_s = begin_s[request.connection, request.playlist, request.position]
        for media_s in (at_s, at_s + (request.length_s or 0.0)):
            # What is neither picture nor sound, or not known to be, is a track of its own.
            for bit in [bit for bit in _BITS if tracks & bit] or [0]:
                yield Arrival(request.arrived_s, media_s, request.connection, bit)


def _begins(requests: Sequence[Request]) -> dict[tuple[int, int, int], float]:
    """At which moment of its connection's film a segment begins, by connection, playlist and position."""
    lengths = {(each.connection, each.playlist, each.position): each.length_s or 0.0 for each in requests}
    found: dict[tuple[int, int, int], float] = {}
    ends: dict[tuple[int, int], float] = {}
    for key in sorted(lengths):
        found[key] = ends.get(key[:2], 0.0)
        ends[key[:2]] = found[key] + lengths[key]
    return found
