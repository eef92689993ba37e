"""HLS viewers: each plays the same film in segments over HTTP, keeping a buffer as players do, and logs every segment.

A viewer fetches the next segment whenever it holds less than its buffer, and plays in real time what it holds. A request
that fails is made again. Run as ``python -m whimbrel.stream.hls_player CONFIGURATION``.
"""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from whimbrel.records.series import SEGMENTS_SCHEMA, write_series
from whimbrel.system.child import Child, Looks, configuration

_ANSWER_S = 10.0
_RETRY_S = 0.5
_LOOK_S = 0.05
# It looks that often; longer than this without a look is a hole.
_HOLE_S = 0.5


@dataclass(frozen=True)
class Segment:
    """One piece of the film."""

    name: str
    length_s: float


def read_playlist(text: str) -> list[Segment]:
    """The segments of a media playlist (RFC 8216, section 4.3.2); ValueError when it is none."""
    if not text.startswith("#EXTM3U"):
        raise ValueError("this is no HLS playlist")
    found, length_s = [], 0.0
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            length_s = float(line.removeprefix("#EXTINF:").split(",")[0])
        elif line and not line.startswith("#"):
            found.append(Segment(line, length_s))
    return found


@dataclass
class HlsViewer:
    """One client; its log has a row per request, ``status`` 0 for one that was not answered."""

    number: int
    address: str
    folder: str
    buffer_s: float
    child: Child
    failure: BaseException | None = None
    rows: list[tuple[int, int, float, int, int, int, int]] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Plays until told to stop or the film ends; what nobody foresaw fails the whole player."""
        try:
            self._play(self._playlist())
        except BaseException as error:  # a thread has nobody to raise to: main() looks at this
            self.failure = error

    def _playlist(self) -> list[Segment]:
        while not self.child.stopping:
            status, body, _ = self._get("film.m3u8")
            if status == 200:
                return read_playlist(body.decode())
            self.child.wait(_RETRY_S)
        return []

    def _play(self, segments: list[Segment]) -> None:
        """The playhead runs in real time once the buffer is full, and stands still while there is nothing to play."""
        held_s, since_s, playing = 0.0, time.monotonic(), False
        for position, segment in enumerate(segments):
            while not self.child.stopping:
                now_s = time.monotonic()
                held_s, since_s = (max(0.0, held_s - (now_s - since_s)) if playing else held_s), now_s
                playing = (playing and held_s > 0) or held_s >= self.buffer_s
                if held_s < self.buffer_s or position == 0:
                    break
                self.child.wait(_LOOK_S)
            if not self._fetch(position, segment):
                return
            now_s = time.monotonic()
            held_s = (max(0.0, held_s - (now_s - since_s)) if playing else held_s) + segment.length_s
            since_s = now_s
            if position == 0:
                self.child.say("playing", viewer=self.number, t_ns=time.monotonic_ns())
        if segments and not self.child.stopping:
            self.child.say("film ended", viewer=self.number, t_ns=time.monotonic_ns())

    def _fetch(self, position: int, segment: Segment) -> bool:
        """Asks until it is there; False when told to stop."""
        while not self.child.stopping:
            asked_ns = time.monotonic_ns()
            status, body, arrived_ns = self._get(segment.name)
            self.rows.append((self.number, position, segment.length_s, asked_ns, arrived_ns, status, len(body)))
            if status == 200:
                return True
            self.child.wait(_RETRY_S)
        return False

    def _get(self, name: str) -> tuple[int, bytes, int]:
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self.address, timeout=_ANSWER_S)
            self._connection.request("GET", f"{self.folder}/{name}")
            response = self._connection.getresponse()
            body = response.read()
            return response.status, body, time.monotonic_ns()
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return 0, b"", time.monotonic_ns()


def main() -> None:
    """Plays with all viewers until told to stop, then writes their log."""
    child = Child()
    given: dict[str, Any] = configuration()
    viewers = [
        HlsViewer(number, given["address"], given["folder"], given["buffer_s"], child)
        for number in range(1, given["viewers"] + 1)
    ]
    for viewer in viewers:
        threading.Thread(target=viewer.run, name=f"hls-{viewer.number}", daemon=True).start()
    child.say("ready")
    lateness: list[float] = []
    looks = Looks(_HOLE_S)
    while not child.stopping:
        due_s = time.monotonic() + _LOOK_S
        child.wait(_LOOK_S)
        lateness.append(max(0.0, time.monotonic() - due_s))
        looks.note()
        for viewer in viewers:
            if viewer.failure is not None:
                raise viewer.failure
    child.say("stopped", t_ns=time.monotonic_ns())
    rows = [row for viewer in viewers for row in list(viewer.rows)]
    write_series(pl.DataFrame(rows, schema=SEGMENTS_SCHEMA, orient="row"), given["output"])
    child.say_cost(lateness, looks)


if __name__ == "__main__":
    main()
