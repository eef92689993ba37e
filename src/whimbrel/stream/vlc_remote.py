"""What VLC says of itself over its remote control (its module oldrc), piece by piece as it comes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# All that is asked in one look; the answer to the last word ends it.
QUESTION = b"status\nget_time\nstats\n"
_END = "stats: returned"
_STATE = re.compile(r"\( (play|pause|stop) state: \d+ \)")
_COUNTER = re.compile(r"\| ([a-z ]+?) *: +(\d+)$")
_NUMBER = re.compile(r"(?:> )*(\d+)$")
_LONGEST_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class Look:
    """VLC's own counters since it opened the stream: pictures that it showed, and sounds (buffers) that it played; and lost ones.

    ``idle`` says that it has nothing open; ``time_s`` is how far it is in the film, in whole seconds.
    """

    idle: bool
    time_s: int
    pictures: int
    pictures_lost: int
    sounds: int
    sounds_lost: int


class Answers:
    """Makes looks of what comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._idle = True
        self._time_s = 0
        self._counters: dict[str, int] = {}

    def hear(self, data: bytes) -> list[Look]:
        """The looks that this piece completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE_BYTES:]
        found = (self._hear_line(line.decode(errors="replace").strip()) for line in lines)
        return [look for look in found if look is not None]

    def _hear_line(self, line: str) -> Look | None:
        if state := _STATE.search(line):
            self._idle = state[1] == "stop"
        elif counter := _COUNTER.match(line):
            self._counters[counter[1]] = int(counter[2])
        elif number := _NUMBER.match(line):
            self._time_s = int(number[1])
        elif _END in line:
            return self._look()
        return None

    def _look(self) -> Look:
        count, self._counters = self._counters, {}
        return Look(
            self._idle, self._time_s, count.get("frames displayed", 0), count.get("frames lost", 0),
            count.get("buffers played", 0), count.get("buffers lost", 0),
        )  # fmt: skip
