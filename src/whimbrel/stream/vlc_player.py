"""Viewers that are VLC, without window or sound device: a process for each, which is asked what it shows ten times a second.

VLC counts anew some four times a second, so that is how well a stall is known. One that has nothing to play any more is told
to open the stream again. Run as ``python -m whimbrel.stream.vlc_player CONFIGURATION``.
"""

from __future__ import annotations

import os
import selectors
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from whimbrel.records.series import VLC_SCHEMA, write_series
from whimbrel.stream.vlc_remote import QUESTION, Answers, Look
from whimbrel.system.child import Child, Looks, configuration
from whimbrel.system.process import Running, start

_ASK_S = 0.1
_RETRY_S = 0.5
# VLC says in whole seconds how far it is.
_NEAR_THE_END_S = 2.0
# One that did not answer for so long was not seen.
_HOLE_S = 0.5
_END_S = 5.0
_NOBODY = 65534
_RECEIVE_BYTES = 1 << 16


def command_of(read_ahead_s: float) -> list[str]:
    """VLC as it is installed, asked over its standard streams; it refuses to be root, and ends when its input does."""
    unprivileged = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return [
        *unprivileged, "vlc", "--intf", "oldrc", "--rc-fake-tty", "--no-color", "--vout", "dummy", "--aout", "dummy",
        "--no-video-title-show", f"--avio-options={{rtmp_buffer={read_ahead_s * 1000:.0f}}}",
    ]  # fmt: skip


class VlcViewer:
    """One VLC: opens the stream, is asked what it has shown, and opens the stream again when it has ended."""

    def __init__(self, number: int, url: str, length_s: float, child: Child) -> None:
        self.number = number
        self.rows: list[tuple[int, ...]] = []
        self.looks = Looks(_HOLE_S)
        self._url = url
        self._length_s = length_s
        self._child = child
        self._answers = Answers()
        self._asked = False
        self._connection = -1
        self._opened_ns = 0
        self._shows = False
        self._time_s = 0
        self._again_s = 0.0
        self.done = False

    def ask(self, vlc: Running, now_s: float) -> None:
        """What time brings: the next look, once the last one was answered; or to open the stream (again)."""
        if not self.done and self._opened_ns == 0 and now_s >= self._again_s:
            self._open(vlc)
        if not self._asked:
            self._asked = True
            vlc.tell(QUESTION)

    def _open(self, vlc: Running) -> None:
        self._connection += 1
        self._opened_ns, self._shows, self._time_s = time.monotonic_ns(), False, 0
        self._child.say("connecting", viewer=self.number, connection=self._connection, t_ns=self._opened_ns)
        vlc.tell(b"add %s\n" % self._url.encode())

    def hear(self, data: bytes) -> None:
        """Takes what VLC said."""
        for look in self._answers.hear(data):
            self._asked = False
            now_ns = time.monotonic_ns()
            self.looks.note(now_ns)
            if self._opened_ns:
                self._take(look, now_ns)

    def _take(self, look: Look, now_ns: int) -> None:
        counters = (look.pictures, look.pictures_lost, look.sounds, look.sounds_lost)
        self.rows.append((self.number, self._connection, now_ns, *counters))
        if look.pictures and not self._shows:
            self._shows = True
            self._child.say("playing", viewer=self.number, connection=self._connection, t_ns=now_ns)
        # One that was just told to open the stream may not have begun to.
        if look.idle and (self._shows or (now_ns - self._opened_ns) / 1e9 > _RETRY_S):
            self._end(now_ns)
        elif not look.idle:
            self._time_s = max(self._time_s, look.time_s)

    def _end(self, now_ns: int) -> None:
        """It has nothing to play any more: the film is over, or the stream was broken off, or could not be opened."""
        self._opened_ns = 0
        if self._shows and self._time_s >= self._length_s - _NEAR_THE_END_S:
            self.done = True
            self._child.say("film ended", viewer=self.number, t_ns=now_ns)
            return
        reason = "VLC says that the stream has ended" if self._shows else "VLC cannot open the stream (its log is vlc.log)"
        self._child.say("lost", viewer=self.number, connection=self._connection, t_ns=now_ns, reason=reason)
        self._again_s = now_ns / 1e9 + _RETRY_S


def play(given: dict[str, Any], child: Child) -> tuple[list[VlcViewer], list[float]]:
    """Plays with all of them until told to stop; they, and how late each round of questions was, in seconds."""
    viewers = [VlcViewer(number, given["url"], given["length_s"], child) for number in range(1, given["viewers"] + 1)]
    lateness_s: list[float] = []
    with ExitStack() as holding, selectors.DefaultSelector() as selector:
        running: list[tuple[VlcViewer, Running]] = []
        for viewer in viewers:
            # In English, as its words are read; it keeps no settings and finds none.
            vlc = start(
                command_of(given["read_ahead_s"]), stdin=True, stdout=True, log_file=Path(given["output"]).with_suffix(".log"),
                env={"LC_ALL": "C", "HOME": "/nonexistent"},
            )  # fmt: skip
            holding.callback(vlc.stop, _END_S)
            running.append((viewer, vlc))
            selector.register(vlc.stdout, selectors.EVENT_READ, (viewer, vlc))
        child.say("ready")
        due_s = time.monotonic()
        while not child.stopping:
            now_s = time.monotonic()
            if now_s >= due_s:
                lateness_s.append(now_s - due_s)
                due_s = max(due_s + _ASK_S, now_s)
                for viewer, vlc in running:
                    viewer.ask(vlc, now_s)
            for key, _ in selector.select(max(0.0, due_s - time.monotonic())):
                viewer, vlc = key.data
                data = os.read(key.fd, _RECEIVE_BYTES)
                if not data:
                    raise SystemExit(f"VLC of viewer {viewer.number} ended with exit code {vlc.wait(_END_S)}; its log is vlc.log")
                viewer.hear(data)
        child.say("stopped", t_ns=time.monotonic_ns())
    return viewers, lateness_s


def main() -> None:
    """Plays, then writes what each VLC said."""
    child = Child()
    given = configuration()
    viewers, lateness_s = play(given, child)
    rows = [row for viewer in viewers for row in viewer.rows]
    write_series(pl.DataFrame(rows, schema=VLC_SCHEMA, orient="row"), given["output"])
    child.say_cost(lateness_s, *(viewer.looks for viewer in viewers))


if __name__ == "__main__":
    main()
