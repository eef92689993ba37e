"""What a player with a given buffer would have shown, from the packets that arrived. Pure.

The player starts, and after a stall goes on, once it holds ``buffer_s`` of media; it stalls when it has played
all that arrived. It plays picture and sound together: what it holds is what it holds of each track that the stream has, and
it stalls when either has run dry. A new connection starts over with an empty buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """A media packet: when it came, what moment of the stream it is for, on which connection, and of which track."""

    arrived_s: float
    media_s: float
    connection: int
    track: int = 0


@dataclass(frozen=True)
class Stall:
    """The film stood still from one moment to another."""

    from_s: float
    to_s: float

    @property
    def length_s(self) -> float:
        """How long playback stood still, in seconds."""
        return self.to_s - self.from_s


@dataclass(frozen=True)
class Playback:
    """Start-up delay from ``asked_s`` (None when it never started), and the stalls after it.

    A stall that had not ended with the last packet ends there: its length is a lower bound, and ``stalled_at_end`` says so.
    """

    startup_s: float | None
    stalls: tuple[Stall, ...]
    stalled_at_end: bool


def play(arrivals: Sequence[Arrival], asked_s: float, buffer_s: float, until_s: float) -> Playback:
    """Plays packets, sorted by arrival, asked for at ``asked_s``, looked at until ``until_s``.

    Example: buffer 1 s, media arrives in real time from 10.0 s on: it starts at 11.0. Then nothing arrives for 3 s: it stalls
    1 s into that, when the buffer is empty, and goes on when 1 s of media is there again.
    """
    player = _Player(buffer_s, {arrival.track for arrival in arrivals})
    for arrival in arrivals:
        player.receive(arrival)
    stalled = player.end(until_s)
    startup = None if player.started_s is None else player.started_s - asked_s
    return Playback(startup, tuple(player.stalls), stalled)


class _Player:
    """The buffer and the playhead of one player."""

    def __init__(self, buffer_s: float, tracks: Iterable[int]) -> None:
        self._buffer_s = buffer_s
        # Up to which moment of the stream each track has come, and up to which all of them have.
        self._newest_of_s = dict.fromkeys(tracks, 0.0)
        self._connection: int | None = None
        self._newest_s = 0.0
        # While it plays: at wall time ``_since_s`` the playhead was at ``_playhead_s`` of the stream.
        self._since_s: float | None = None
        self._playhead_s = 0.0
        self._stalled_since_s: float | None = None
        self.started_s: float | None = None
        self.stalls: list[Stall] = []

    def receive(self, arrival: Arrival) -> None:
        self._run_dry(arrival.arrived_s)
        if arrival.connection != self._connection:
            self._start_over(arrival)
        if arrival.media_s > self._newest_of_s[arrival.track]:
            self._newest_of_s[arrival.track] = arrival.media_s
            self._newest_s = min(self._newest_of_s.values())
        if self._since_s is None and self._newest_s - self._playhead_s >= self._buffer_s:
            self._go(arrival.arrived_s)

    def _start_over(self, arrival: Arrival) -> None:
        if self._since_s is not None:
            self._stalled_since_s = arrival.arrived_s
            self._since_s = None
        self._connection = arrival.connection
        self._playhead_s = self._newest_s = arrival.media_s
        self._newest_of_s = dict.fromkeys(self._newest_of_s, arrival.media_s)

    def _run_dry(self, now_s: float) -> None:
        """Stalls at the moment when everything had been played, when that is before ``now_s``."""
        if self._since_s is None:
            return
        dry_s = self._since_s + (self._newest_s - self._playhead_s)
        if now_s > dry_s:
            self._stalled_since_s = dry_s
            self._since_s = None
            self._playhead_s = self._newest_s

    def _go(self, now_s: float) -> None:
        if self.started_s is None:
            self.started_s = now_s
        elif self._stalled_since_s is not None:
            self.stalls.append(Stall(self._stalled_since_s, now_s))
        self._stalled_since_s = None
        self._since_s = now_s

    def end(self, until_s: float) -> bool:
        """Closes a stall that is still going on; True when there was one."""
        self._run_dry(until_s)
        if self._stalled_since_s is None or self._stalled_since_s >= until_s:
            return False
        self.stalls.append(Stall(self._stalled_since_s, until_s))
        return True
