"""Viewers: each plays the stream over RTMP and logs every media message; all in one process and one thread.

An arrival time is the kernel's, of the segment that completed the message (socket(7), SO_TIMESTAMPNS), so a busy player does
not make packets late unless it lets several pile up. A viewer that loses its connection says so and connects again.
Run as ``python -m whimbrel.stream.player CONFIGURATION``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from whimbrel.records.series import write_series
from whimbrel.stream.packets import PacketLog, hand_on
from whimbrel.stream.rtmp import Player, RtmpError
from whimbrel.system.child import Child, Looks, Readings, configuration
from whimbrel.system.clock import SO_TIMESTAMPNS, KernelClock

OPEN_S = 10.0
# No media for longer than this counts as a lost connection, as silence does for common players. A server that says other
# things meanwhile, such as pings, shows a viewer nothing.
READ_S = 20.0
_RETRY_S = 0.5
_NEAR_THE_END_S = 1.0
_LOOK_S = 0.1
# It looks at least so often; one that did not come round for longer has taken what piled up for one arrival.
_HOLE_S = 0.25
# At first everything that is sent ahead comes at once; how late that is taken says nothing of how late the rest is.
_BURST_NS = 5_000_000_000
_PORT = 1935
_RECEIVE_BYTES = 1 << 18
# What a hostile server may make us keep: answers that it does not take.
MOST_TO_SEND_BYTES = 1 << 20


class Viewer:
    """One client of the stream: connects, plays, and connects again when the stream is lost."""

    def __init__(self, number: int, url: str, read_ahead_s: float, length_s: float, child: Child) -> None:
        parts = urlsplit(url)
        app, _, name = parts.path.strip("/").partition("/")
        self.number = number
        self.log = PacketLog()
        self._address = (parts.hostname or "", parts.port or _PORT)
        self._host, self._app, self._name = parts.netloc, app, name
        self._buffer_ms = round(read_ahead_s * 1000)
        self._length_s = length_s
        self._child = child
        self._socket: socket.socket | None = None
        self._session: Player | None = None
        self._connection = 0
        self._answered = self._playing = False
        self._last_ms = 0
        self._steady_ns = 0
        self._to_send = b""
        # When to give up, or to connect (again); on the monotonic clock, in seconds.
        self._deadline_s = 0.0
        self.done = False

    def look(self, selector: selectors.BaseSelector, now_s: float) -> None:
        """What time brings: a connection to be made, or one that has been silent for too long."""
        if self.done or now_s < self._deadline_s:
            return
        if self._socket is None:
            self._connect(selector, now_s)
        else:
            silence = f"no media for {READ_S:.0f} s" if self._answered else f"no answer for {OPEN_S:.0f} s"
            self._lose(selector, silence + self._asked())

    def _asked(self) -> str:
        """What the server was asked last, where it has not sent any media yet."""
        return f" when asked {self._session.asked}" if self._session is not None and not self._playing else ""

    def _connect(self, selector: selectors.BaseSelector, now_s: float) -> None:
        self._child.say("connecting", viewer=self.number, connection=self._connection, t_ns=time.monotonic_ns())
        self._session = Player(self._host, self._app, self._name, self._buffer_ms)
        self._answered, self._playing, self._last_ms = False, False, 0
        self._to_send = self._session.greet()
        self._deadline_s = now_s + OPEN_S
        connecting = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connecting.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connecting
        selector.register(connecting, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        code = connecting.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            self._lose(selector, os.strerror(code))

    def ready(self, selector: selectors.BaseSelector, events: int, clock: KernelClock) -> float | None:
        """Takes what has come, sends what is to be sent; how late it was taken, in seconds, when it was media in due course."""
        try:
            if events & selectors.EVENT_WRITE:
                self._send(selector)
            return self._take(selector, clock) if events & selectors.EVENT_READ else None
        except BlockingIOError:
            return None
        except RtmpError as error:
            self._lose(selector, str(error))
        except OSError as error:
            self._lose(selector, (error.strerror or str(error)) + (self._asked() if self._answered else ""))
        return None

    def _send(self, selector: selectors.BaseSelector) -> None:
        assert self._socket is not None
        if self._to_send:
            self._to_send = self._to_send[self._socket.send(self._to_send) :]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._to_send else 0)
        selector.modify(self._socket, wanted, self)

    def _take(self, selector: selectors.BaseSelector, clock: KernelClock) -> float | None:
        assert self._socket is not None
        assert self._session is not None
        data, extras, _, _ = self._socket.recvmsg(_RECEIVE_BYTES, 64)
        now_ns = time.monotonic_ns()
        if not data:
            self._end(selector)
            return None
        arrived_ns = clock.arrival_ns(extras, now_ns)
        media, answer = self._session.receive(data)
        self.log.note(self._connection, arrived_ns, media)
        if media:
            self._last_ms = max(self._last_ms, media[-1].stream_ms)
            if not self._playing:
                self._playing = True
                self._steady_ns = now_ns + _BURST_NS
                self._child.say("playing", viewer=self.number, connection=self._connection, t_ns=arrived_ns)
        if media or not self._answered:
            self._answered = True
            self._deadline_s = now_ns / 1e9 + READ_S
        if answer:
            self._to_send += answer
            if len(self._to_send) > MOST_TO_SEND_BYTES:
                raise RtmpError("the server asks for answers and does not take them")
            self._send(selector)
        if self._session.ended:
            self._end(selector)
        return (now_ns - arrived_ns) / 1e9 if self._playing and now_ns > self._steady_ns else None

    def _end(self, selector: selectors.BaseSelector) -> None:
        """The server has no more to send: the film is over, or it was broken off."""
        if self._last_ms / 1000 >= self._length_s - _NEAR_THE_END_S:
            self._child.say("film ended", viewer=self.number, t_ns=time.monotonic_ns())
            self.close(selector)
            self.done = True
        else:
            self._lose(selector, f"the server closed the connection{self._asked()}")

    def _lose(self, selector: selectors.BaseSelector, reason: str) -> None:
        self.close(selector)
        self._child.say("lost", viewer=self.number, connection=self._connection, t_ns=time.monotonic_ns(), reason=reason)
        self._connection += 1
        self._deadline_s = time.monotonic() + _RETRY_S

    def close(self, selector: selectors.BaseSelector) -> None:
        """Closes the connection to the server."""
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def play(viewers: list[Viewer], child: Child, looks: Looks) -> list[float]:
    """Plays with all viewers until told to stop; how late each arrival was taken, in seconds."""
    clock = KernelClock()
    lateness_s: list[float] = []
    readings = Readings()
    logs = {viewer.number: viewer.log for viewer in viewers}
    with selectors.EpollSelector() as selector:
        look_s = 0.0
        while not child.stopping:
            ready = selector.select(_LOOK_S)
            looks.note()
            for key, events in ready:
                late_s = key.data.ready(selector, events, clock)
                if late_s is not None:
                    lateness_s.append(late_s)
            now_s = time.monotonic()
            if now_s >= look_s:
                look_s = now_s + _LOOK_S
                for viewer in viewers:
                    viewer.look(selector, now_s)
                hand_on(logs, readings, time.monotonic_ns(), lateness_s)
        for viewer in viewers:
            viewer.close(selector)
    return lateness_s


def main() -> None:
    """Plays, then writes every viewer's log."""
    child = Child()
    given: dict[str, Any] = configuration()
    # Of one stream so many viewers, or of each stream one.
    urls = given["urls"] if "urls" in given else [given["url"]] * given["viewers"]
    viewers = [Viewer(number, url, given["read_ahead_s"], given["length_s"], child) for number, url in enumerate(urls, start=1)]
    child.say("ready")
    looks = Looks(_HOLE_S)
    lateness_s = play(viewers, child, looks)
    child.say("stopped", t_ns=time.monotonic_ns())
    write_series(pl.concat([viewer.log.frame(viewer.number) for viewer in viewers]), given["output"])
    child.say_cost(lateness_s, looks)


if __name__ == "__main__":
    main()
