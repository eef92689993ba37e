"""A relay between one viewer and the origin that falls silent for a known time, and a capture of what it really put on the wire.

Run as ``python relay.py PORT OUTPUT AFTER_S GAP_MS...``: after each AFTER_S of streaming it holds everything back for the next
gap. Writes JSON: the planted silences, from its last byte before to its first byte after, and for each segment on the wire that
carried data to the viewer the kernel's time and its size.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path

_SO_TIMESTAMPNS = 35
_ORIGIN = ("127.0.0.1", 1935)
_ETHERNET, _TCP = 14, 6


def wall_to_monotonic_ns() -> int:
    pairs = []
    for _ in range(9):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        pairs.append((after - before, wall - (before + after) // 2))
    return min(pairs)[1]


class Capture:
    """Every TCP segment with data that leaves ``port`` over the loopback, with the kernel's receive time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.segments: list[tuple[int, int]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        offset_ns = wall_to_monotonic_ns()
        while True:
            packet, extras, _, address = self._socket.recvmsg(200, 64)
            if address[2] == socket.PACKET_OUTGOING or packet[_ETHERNET + 9] != _TCP:
                continue
            header = (packet[_ETHERNET] & 15) * 4
            total = struct.unpack_from("!H", packet, _ETHERNET + 2)[0]
            tcp = _ETHERNET + header
            source = struct.unpack_from("!H", packet, tcp)[0]
            size = total - header - (packet[tcp + 12] >> 4) * 4
            if source == self._port and size > 0:
                seconds, nanoseconds = struct.unpack("qq", extras[0][2][:16])
                self.segments.append((seconds * 10**9 + nanoseconds - offset_ns, size))


def pass_on(
    viewer: socket.socket, origin: socket.socket, after_s: float, gaps_ms: list[float], planted: list[tuple[int, int]]
) -> None:
    """Until either side closes; notes the silences it made."""
    due_s = time.monotonic() + after_s
    last_ns = time.monotonic_ns()
    held = False
    while True:
        readable = select.select([viewer, origin], [], [], 1.0)[0]
        if viewer in readable:
            asked = viewer.recv(65536)
            if not asked:
                return
            origin.sendall(asked)
        if origin not in readable:
            continue
        data = origin.recv(65536)
        if not data:
            return
        if gaps_ms and time.monotonic() >= due_s:
            # Held back from its last byte on, so that the silence is as long as it was meant to be.
            until_ns = last_ns + round(gaps_ms.pop(0) * 1e6)
            while (left_ns := until_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            held = True
        viewer.sendall(data)
        now_ns = time.monotonic_ns()
        if held:
            planted.append((last_ns, now_ns))
            due_s, held = time.monotonic() + after_s, False
        last_ns = now_ns


def main() -> None:
    port, output, after_s, gaps_ms = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), [float(gap) for gap in sys.argv[4:]]
    listening = socket.create_server(("127.0.0.1", port))
    capture = Capture(port)
    print("ready", flush=True)
    viewer, _ = listening.accept()
    viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    origin = socket.create_connection(_ORIGIN)
    planted: list[tuple[int, int]] = []
    with contextlib.suppress(ConnectionError):
        pass_on(viewer, origin, after_s, gaps_ms, planted)
    Path(output).write_text(json.dumps({"planted": planted, "segments": capture.segments}))


if __name__ == "__main__":
    main()
