"""How a media playlist is followed: which segment is next, and when to load the list again (RFC 8216, 6.3.3 to 6.3.5). Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whimbrel.stream.playlist import MediaPlaylist, Segment

# No server is asked more often, whatever its playlist says.
_SOONEST_S = 0.25
# A live playlist has to change within 1.5 target durations (6.2.1).
_LATE_TARGETS = 1.5
# One that has gone back is a stale copy, as of a cache, at first; after so many target durations the stream began anew.
_STALE_TARGETS = 3.0


@dataclass(frozen=True)
class Missed:
    """Segments that had left the playlist before they were taken; ``lengths_s`` are None where no playlist told them."""

    lengths_s: tuple[float | None, ...]


class Following:
    """One media playlist of one viewer. Times are in seconds, of any one clock.

    A playlist that is complete is begun at segment ``resume_at`` where it has that, to go on where an earlier viewing broke off.
    """

    def __init__(self, resume_at: int | None = None) -> None:
        self._resume_at = resume_at
        self._playlist: MediaPlaylist | None = None
        self._lengths_s: dict[int, float] = {}
        self._heard_s = self._changed_s = 0.0
        self.next_number = 0
        # When to load it again.
        self.due_s = 0.0

    def hear(self, playlist: MediaPlaylist, asked_s: float) -> str | None:
        """Takes what a load brought that was begun at ``asked_s``; where the stream has begun anew, what tells so."""
        known = self._playlist
        anew = self._began_anew(known, playlist, asked_s) if known is not None else None
        changed = playlist != known
        self.due_s = asked_s + max(_SOONEST_S, playlist.target_s / (1 if changed else 2))
        if anew is None and known is not None and playlist.last < known.last:
            return None  # a stale copy: newer ones will come
        if known is None or anew is not None:
            self.next_number = self._begin(playlist)
            self._lengths_s.clear()
        if playlist.complete:
            self.due_s = math.inf
        if changed:
            self._changed_s = asked_s
        self._heard_s = asked_s
        self._playlist = playlist
        self._lengths_s |= {segment.number: segment.length_s for segment in playlist.segments}
        return anew

    def _began_anew(self, known: MediaPlaylist, playlist: MediaPlaylist, asked_s: float) -> str | None:
        if playlist.last < known.last:
            stale = playlist.last >= known.first and asked_s - self._changed_s < _STALE_TARGETS * known.target_s
            return None if stale else f"the playlist went back from segment {known.last} to {playlist.last}"
        # So many can have come and gone unseen since the last load, if all were as short as the shortest.
        shortest_s = min((segment.length_s for segment in known.segments), default=known.target_s)
        most = (asked_s - self._heard_s) / max(shortest_s, _SOONEST_S) + 1
        if playlist.first - known.last - 1 > most:
            return f"the playlist jumped from segment {known.last} to {playlist.first}"
        return None

    def _begin(self, playlist: MediaPlaylist) -> int:
        """The segment to begin with: the server's choice, else the first, or of a live stream one far enough from its end."""
        segments = playlist.segments
        if playlist.complete and any(segment.number == self._resume_at for segment in segments):
            assert self._resume_at is not None
            return self._resume_at
        length_s = sum(segment.length_s for segment in segments)
        latest_s = length_s if playlist.complete else max(0.0, length_s - playlist.hold_back_s)
        start_s = playlist.start_s
        if start_s is None:
            start_s = 0.0 if playlist.complete else latest_s
        elif start_s < 0:
            start_s = max(0.0, length_s + start_s)
        start_s = min(start_s, latest_s)
        at_s, number = 0.0, playlist.first
        for segment in segments:
            if at_s > start_s:
                break
            number = segment.number
            at_s += segment.length_s
        return number

    def missed(self) -> Missed | None:
        """What has left the playlist untaken; said once."""
        if self._playlist is None or self._playlist.first <= self.next_number:
            return None
        lost = range(self.next_number, self._playlist.first)
        self.next_number = self._playlist.first
        return Missed(tuple(self._lengths_s.pop(number, None) for number in lost))

    def next(self) -> Segment | None:
        """The segment to take next, which ``take`` is told once it is there or given up; None while there is none."""
        segments = self._playlist.segments if self._playlist is not None else ()
        return next((segment for segment in segments if segment.number >= self.next_number), None)

    def take(self, segment: Segment) -> None:
        """What comes next is what comes after it."""
        self.next_number = segment.number + 1
        for number in [number for number in self._lengths_s if number <= segment.number]:
            del self._lengths_s[number]

    def offers(self, segment: Segment) -> bool:
        """Whether the playlist still has it."""
        return self._playlist is not None and self._playlist.first <= segment.number <= self._playlist.last

    @property
    def at_end(self) -> bool:
        """Whether all has been taken that will ever be there."""
        return self._playlist is not None and self._playlist.complete and self.next() is None

    def late_s(self, now_s: float) -> float | None:
        """For how long a live playlist has not changed, once that is longer than it may be; None until then."""
        if self._playlist is None or self._playlist.complete:
            return None
        unchanged_s = now_s - self._changed_s
        return unchanged_s if unchanged_s > _LATE_TARGETS * max(self._playlist.target_s, _SOONEST_S) else None
