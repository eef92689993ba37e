"""How much a viewer holds and whether it plays: what decides when it asks for more. Pure."""

from __future__ import annotations


class Playhead:
    """Plays so many playlists together, picture and sound for instance, as one film. Times are in seconds of any one clock.

    It starts, and after running dry goes on, once it holds ``buffer_s`` of each or all there is; it runs dry with the first.
    """

    def __init__(self, playlists: int, buffer_s: float, now_s: float) -> None:
        self._buffer_s = buffer_s
        self._come_s = [0.0] * playlists
        self._skipped_s = [0.0] * playlists
        self._complete = [False] * playlists
        self._at_s = 0.0
        self._seen_s = now_s
        self._playing = False
        self._dry_since_s = now_s

    def receive(self, playlist: int, length_s: float, now_s: float) -> None:
        """Takes in so much more of the film, after what was skipped."""
        self._advance(now_s)
        self._come_s[playlist] += self._skipped_s[playlist] + length_s
        self._skipped_s[playlist] = 0.0
        self._start(now_s)

    def skip(self, playlist: int, length_s: float) -> None:
        """So much will not come: a hole in the film, which is nothing to play until something comes after it."""
        self._skipped_s[playlist] += length_s

    def complete(self, playlist: int, now_s: float) -> None:
        """Tells the playhead that no more media will come."""
        self._advance(now_s)
        self._complete[playlist] = True
        self._start(now_s)

    def held_s(self, playlist: int, now_s: float) -> float:
        """How much of a playlist has come and was not played yet."""
        self._advance(now_s)
        return self._come_s[playlist] - self._at_s

    def dry_for_s(self, now_s: float) -> float:
        """For how long nothing has been played; 0 while something is."""
        self._advance(now_s)
        return 0.0 if self._playing else now_s - self._dry_since_s

    def _advance(self, now_s: float) -> None:
        if self._playing:
            ready_s = min(self._come_s)
            dry_s = self._seen_s + ready_s - self._at_s
            self._at_s = min(ready_s, self._at_s + now_s - self._seen_s)
            if now_s >= dry_s:
                self._playing, self._dry_since_s = False, dry_s
        self._seen_s = now_s

    def _start(self, now_s: float) -> None:
        held_s = min(self._come_s) - self._at_s
        if not self._playing and held_s > 0 and (held_s >= self._buffer_s or all(self._complete)):
            self._playing = True
