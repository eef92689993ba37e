"""One HLS viewer: it opens a playlist as a player does, keeps a buffer, plays in real time what it holds, and logs every segment.

It plays the best variant there is, and the next best after one that failed; it never changes in between, so that viewers can
be compared. A stream whose sound comes apart is played from two playlists. What a viewer cannot have is told apart:
a request that *failed* is made again; a segment is *missing* that the server says not to have, or that left the playlist before
it was taken; a stream is *lost* when nothing could be played for as long as players usually wait, and is opened again; and a
film has *ended* when its playlist said so and all of it was played.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from whimbrel.stream.asking import Answer, Asker
from whimbrel.stream.following import Following
from whimbrel.stream.playhead import Playhead
from whimbrel.stream.playlist import MediaPlaylist, MultivariantPlaylist, Playlist, Resource, Segment, Variant, read_playlist
from whimbrel.stream.segment_tracks import TrackFinder

# Nothing to play for so long is a stream that is lost, as RTMP's viewers take it.
LOST_S = 20.0
_RETRY_S = 0.5
_LOOK_S = 0.05
# So often a segment is asked for that the server says not to have, or that holds no media.
_MOST_TRIES = 3
# What a hostile server may make us keep of its playlists and of the log.
_LARGEST_PLAYLIST_BYTES = 4 << 20
_MOST_ROWS = 1_000_000


class Row(NamedTuple):
    """A row of the log, with the columns of ``SEGMENTS_SCHEMA`` in their order."""

    viewer: int
    connection: int
    playlist: int
    position: int
    length_s: float | None
    asked_ns: int
    arrived_ns: int
    status: int
    bytes: int
    tracks: int | None
    missing: bool


class Teller(Protocol):
    """Receives what happens to a viewer."""

    def say(self, what: str, **details: Any) -> None:
        """One event, with its details."""


class LostError(Exception):
    """The stream cannot be played as it is: it has to be opened again."""


@dataclass
class _Track:
    """One playlist that is played, and how far."""

    number: int
    url: str
    following: Following
    news: asyncio.Event = field(default_factory=asyncio.Event)
    position: int = 0
    begun: bool = False
    # What it needs beside its segments, by where that is: initialization sections and keys.
    beforehand: dict[Resource, bytes] = field(default_factory=dict)


class HlsViewer:
    """One client; ``rows`` is its log, a row per request for a segment and one per segment that is missing.

    ``heard`` is told when a segment has come (ns of the monotonic clock).
    """

    def __init__(
        self,
        number: int,
        url: str,
        buffer_s: float,
        teller: Teller,
        finder: TrackFinder,
        heard: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.number = number
        self.rows: list[Row] = []
        self._url = url
        self._buffer_s = buffer_s
        self._teller = teller
        self._finder = finder
        self._heard = heard
        self._connection = 0
        self._asker = Asker()
        self._tracks: list[_Track] = []
        # When media came last.
        self._came_s = time.monotonic()
        self._playhead = Playhead(1, buffer_s, self._came_s)
        # By track, where to go on after the stream was lost.
        self._reached: dict[int, int] = {}
        self._variants_tried = 0
        self._last_failure = ""
        self._encryption: str | None = None

    async def run(self) -> None:
        """Plays until it is cancelled or the film has ended."""
        try:
            while not await self._connect():
                await asyncio.sleep(_RETRY_S)
        finally:
            await self._asker.close()

    async def _connect(self) -> bool:
        """Opens the stream and plays it; False when it was lost, True when the film has ended."""
        self._say("connecting", url=self._url)
        reasons: list[str] = []
        try:
            await self._open()
            await self._play()
        except* LostError as lost:
            reasons = [str(error) for error in lost.exceptions]
        if not reasons:
            self._say("film ended")
            return True
        self._say("lost", reason=reasons[0])
        self._connection += 1
        self._reached = {track.number: track.following.next_number for track in self._tracks} or self._reached
        self._last_failure = ""
        return False

    async def _play(self) -> None:
        """Plays what has been opened to its end; LostError when that cannot be."""
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._keep_up(track)) for track in self._tracks]
            beside.append(group.create_task(self._watch()))
            await asyncio.gather(*(self._take_all(track) for track in self._tracks))
            if not all(track.begun for track in self._tracks):
                raise LostError(f"the film has ended without any media: {self._last_failure}")
            self._say("all came")
            while self._playhead.dry_for_s(time.monotonic()) == 0:
                await asyncio.sleep(_LOOK_S)
            for task in beside:
                task.cancel()

    async def _open(self) -> None:
        """Finds the playlists that are to be played, and loads each of them once."""
        self._tracks = []
        asked_s = time.monotonic()
        opened = await self._load(self._url)
        if isinstance(opened, MultivariantPlaylist):
            variant = opened.variants[self._variants_tried % len(opened.variants)]
            self._variants_tried += 1
            self._say_variant(variant, len(opened.variants))
            urls = [variant.url] + ([variant.audio_url] if variant.audio_url is not None else [])
            asked_s = time.monotonic()
            playlists = [await self._load(url) for url in urls]
        else:
            urls, playlists = [self._url], [opened]
        self._came_s = time.monotonic()
        self._playhead = Playhead(len(urls), self._buffer_s, self._came_s)
        media = [_media(playlist, url) for playlist, url in zip(playlists, urls, strict=True)]
        for number, (url, playlist) in enumerate(zip(urls, media, strict=True)):
            track = _Track(number, url, Following(self._reached.get(number)))
            track.following.hear(playlist, asked_s)
            if track.following.at_end:
                raise LostError(f"the playlist has ended without any segment ({url})")
            self._tracks.append(track)

    def _say_variant(self, variant: Variant, offered: int) -> None:
        self._say("variant", offered=offered, **asdict(variant))

    async def _load(self, url: str) -> Playlist:
        """A playlist; LostError with what the server said instead."""
        answer = await self._asker.get(Resource(url))
        if not answer.came:
            raise LostError(answer.said)
        try:
            if answer.size_bytes > _LARGEST_PLAYLIST_BYTES:
                raise ValueError(f"it has {answer.size_bytes} bytes: it is no playlist")
            return read_playlist(answer.body.decode(), answer.url)
        except ValueError as error:
            raise LostError(f"{error} ({answer.url})") from error

    async def _keep_up(self, track: _Track) -> None:
        """Loads a live playlist again and again; one that cannot be had is asked for again, for as long as there is media."""
        said_late = False
        while math.isfinite(track.following.due_s):
            await asyncio.sleep(max(0.0, track.following.due_s - time.monotonic()))
            asked_s = time.monotonic()
            try:
                anew = track.following.hear(_media(await self._load(track.url), track.url), asked_s)
            except LostError as error:
                track.following.due_s = asked_s + _RETRY_S
                self._fail(str(error))
                continue
            if anew is not None:
                self._say("began anew", url=track.url, reason=anew)
            late_s = track.following.late_s(time.monotonic())
            if late_s is not None and not said_late:
                self._say("playlist late", url=track.url, unchanged_s=late_s)
            said_late = late_s is not None
            track.news.set()

    async def _watch(self) -> None:
        """Media alone keeps a stream alive: whatever else the server says, a viewer who sees nothing takes it for lost."""
        # One who has not got a full buffer yet sees nothing either, but something is coming.
        while min(self._playhead.dry_for_s(now_s := time.monotonic()), now_s - self._came_s) < LOST_S:
            await asyncio.sleep(_LOOK_S * 5)
        reason = f": {self._last_failure}" if self._last_failure else ""
        raise LostError(f"nothing to play for {LOST_S:.0f} s{reason}")

    async def _take_all(self, track: _Track) -> None:
        """Every segment of a playlist in turn, no earlier than there is room for it."""
        while True:
            await self._room(track)
            self._note_missed(track)
            segment = track.following.next()
            if segment is not None:
                await self._take(track, segment)
            elif track.following.at_end:
                self._playhead.complete(track.number, time.monotonic())
                return
            else:
                track.news.clear()
                await track.news.wait()

    async def _room(self, track: _Track) -> None:
        """Waits until it holds less than its buffer; the first segment is always wanted."""
        while track.begun and (too_much_s := self._playhead.held_s(track.number, time.monotonic()) - self._buffer_s) >= 0:
            await asyncio.sleep(max(_LOOK_S, too_much_s))

    async def _take(self, track: _Track, segment: Segment) -> None:
        """Asks for a segment until it is there, or is known not to come."""
        if segment.gap:
            self._give_up(track, segment.length_s, "the server has no media for it (EXT-X-GAP)")
            track.following.take(segment)
            return
        tries = 0
        while track.following.offers(segment):
            answer, tracks = await self._ask(track, segment)
            self._note(track, segment, answer, tracks)
            if answer.came and tracks != 0:
                self._heard(answer.arrived_ns)
                self._receive(track, segment)
                return
            tries += 1
            said = answer.said if not answer.came else f"no media: it begins with {answer.body[:40]!r} ({answer.url})"
            self._fail(said)
            if tries >= _MOST_TRIES and (answer.came or answer.final):
                self._give_up(track, segment.length_s, said)
                track.following.take(segment)
                return
            await asyncio.sleep(_RETRY_S)

    async def _ask(self, track: _Track, segment: Segment) -> tuple[Answer, int | None]:
        """The answer and which tracks came, None where that cannot be seen; that of what is needed beforehand if it failed."""
        for resource in segment.beforehand:
            if resource not in track.beforehand:
                answer = await self._asker.get(resource)
                if not answer.came:
                    return answer, None
                track.beforehand[resource] = answer.body
        track.beforehand = {resource: track.beforehand[resource] for resource in segment.beforehand}
        answer = await self._asker.get(segment.media)
        if not answer.came or not answer.size_bytes:
            return answer, 0
        if segment.encryption != self._encryption:
            self._encryption = segment.encryption
            self._say("encryption", method=segment.encryption or "NONE")
        if segment.encryption is not None:
            return answer, None
        initialization = track.beforehand.get(segment.initialization, b"") if segment.initialization is not None else b""
        return answer, await asyncio.to_thread(self._finder.tracks, initialization, answer.body)

    def _receive(self, track: _Track, segment: Segment) -> None:
        self._came_s = time.monotonic()
        self._playhead.receive(track.number, segment.length_s, self._came_s)
        track.following.take(segment)
        track.position += 1
        self._last_failure = ""
        if not track.begun:
            track.begun = True
            if all(each.begun for each in self._tracks):
                self._say("playing")

    def _note_missed(self, track: _Track) -> None:
        """What left a live playlist before it could be taken."""
        missed = track.following.missed()
        for length_s in missed.lengths_s if missed is not None else ():
            self._give_up(track, length_s, "it left the playlist before it came")

    def _give_up(self, track: _Track, length_s: float | None, reason: str) -> None:
        now_ns = time.monotonic_ns()
        self._keep(Row(self.number, self._connection, track.number, track.position, length_s, now_ns, now_ns, 0, 0, 0, True))
        self._say("missing", playlist=track.number, position=track.position, length_s=length_s, reason=reason)
        track.position += 1
        self._playhead.skip(track.number, length_s or 0.0)

    def _note(self, track: _Track, segment: Segment, answer: Answer, tracks: int | None) -> None:
        self._keep(
            Row(self.number, self._connection, track.number, track.position, segment.length_s, answer.asked_ns, answer.arrived_ns,
             answer.status, answer.size_bytes, tracks, False)
        )  # fmt: skip

    def _keep(self, row: Row) -> None:
        if len(self.rows) >= _MOST_ROWS:
            raise LostError(f"more than {_MOST_ROWS} requests: this is no film")
        self.rows.append(row)

    def _fail(self, reason: str) -> None:
        """Says what went wrong, once for as long as it is the same."""
        if reason != self._last_failure:
            self._last_failure = reason
            self._say("failed", reason=reason)

    def _say(self, what: str, **details: Any) -> None:
        self._teller.say(what, viewer=self.number, connection=self._connection, t_ns=time.monotonic_ns(), **details)


def _media(playlist: Playlist, url: str) -> MediaPlaylist:
    if not isinstance(playlist, MediaPlaylist):
        raise LostError(f"the playlist of a variant holds variants itself ({url})")
    return playlist
