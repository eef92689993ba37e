"""Viewers: each plays the stream over RTMP and logs every media packet; all in one process, a thread each.

PyAV (FFmpeg) reads outside Python's lock, so ten viewers do not wait for one another. An arrival time is when FFmpeg
hands the packet over, not when it was on the wire. A viewer that loses its connection says so and connects again.
Run as ``python -m whimbrel.stream.player CONFIGURATION``.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import av
import av.error
import polars as pl
from av.packet import Packet

from whimbrel.records.series import PACKETS_SCHEMA, write_series
from whimbrel.system.child import Child, configuration

_KINDS = {"video": 0, "audio": 1}
_OPEN_S = 10.0
# Silence longer than this counts as a lost connection, as it does for common players.
_READ_S = 20.0
_RETRY_S = 0.5
_NEAR_THE_END_S = 1.0
# A beat beside the viewers: how late it is says how late an arrival may be logged, as all share Python's lock.
_METRONOME_S = 0.02


@dataclass
class Viewer:
    """One client of the stream; its log is lists of equal length."""

    number: int
    url: str
    read_ahead_s: float
    length_s: float
    child: Child
    connection: int = 0
    failure: BaseException | None = None
    connections: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    stream_ms: list[int] = field(default_factory=list)
    arrived_ns: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Plays until told to stop, or to the end of the film; what nobody foresaw fails the whole player."""
        try:
            self._watch()
        except BaseException as error:  # a thread has nobody to raise to: main() looks at this
            self.failure = error

    def _watch(self) -> None:
        while not self.child.stopping:
            asked_ns = time.monotonic_ns()
            self.child.say("connecting", viewer=self.number, connection=self.connection, t_ns=asked_ns)
            try:
                if self._play():
                    self.child.say("film ended", viewer=self.number, t_ns=time.monotonic_ns())
                    return
                reason = "the server closed the connection"
            except (av.error.FFmpegError, OSError) as error:
                reason = str(error)
            if not self.child.stopping:
                self.child.say("lost", viewer=self.number, connection=self.connection, t_ns=time.monotonic_ns(), reason=reason)
                self.connection += 1
                self.child.wait(_RETRY_S)

    def _play(self) -> bool:
        """One connection; True when the film was seen to its end."""
        options = {"rtmp_buffer": str(round(self.read_ahead_s * 1000)), "fflags": "nobuffer", "analyzeduration": "0"}
        playing = False
        last_ms = 0
        with av.open(self.url, timeout=(_OPEN_S, _READ_S), options=options) as container:
            for packet in container.demux():
                arrived_ns = time.monotonic_ns()
                if packet.dts is None or packet.size == 0:
                    continue
                last_ms = self._log(packet, arrived_ns)
                if not playing:
                    playing = True
                    self.child.say("playing", viewer=self.number, connection=self.connection, t_ns=arrived_ns)
                if self.child.stopping:
                    break
        return last_ms / 1000 >= self.length_s - _NEAR_THE_END_S

    def _log(self, packet: Packet[Any], arrived_ns: int) -> int:
        assert packet.dts is not None
        assert packet.time_base is not None
        stream_ms = round(packet.dts * packet.time_base * 1000)
        self.connections.append(self.connection)
        self.kinds.append(_KINDS.get(packet.stream.type, 2))
        self.stream_ms.append(stream_ms)
        self.arrived_ns.append(arrived_ns)
        self.sizes.append(packet.size)
        return stream_ms

    def frame(self) -> pl.DataFrame:
        """The log so far; the viewer's thread may be adding to it, and sizes are what it adds last."""
        rows = len(self.sizes)
        return pl.DataFrame(
            {"viewer": [self.number] * rows, "connection": self.connections[:rows], "kind": self.kinds[:rows],
             "stream_ms": self.stream_ms[:rows], "arrived_ns": self.arrived_ns[:rows], "bytes": self.sizes[:rows]},
            schema=PACKETS_SCHEMA,
        )  # fmt: skip


def main() -> None:
    """Plays with all viewers until told to stop, then writes their log."""
    child = Child()
    given: dict[str, Any] = configuration()
    viewers = [
        Viewer(number, given["url"], given["read_ahead_s"], given["length_s"], child) for number in range(1, given["viewers"] + 1)
    ]
    for viewer in viewers:
        threading.Thread(target=viewer.run, name=f"viewer-{viewer.number}", daemon=True).start()
    child.say("ready")
    lateness: list[float] = []
    while not child.stopping:
        due_s = time.monotonic() + _METRONOME_S
        child.wait(_METRONOME_S)
        lateness.append(max(0.0, time.monotonic() - due_s))
        for viewer in viewers:
            if viewer.failure is not None:
                raise viewer.failure
    child.say("stopped", t_ns=time.monotonic_ns())
    write_series(pl.concat([viewer.frame() for viewer in viewers]), given["output"])
    child.say_cost(lateness)


if __name__ == "__main__":
    main()
