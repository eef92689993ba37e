"""Publishes a film over RTMP as FFmpeg does it, as fast as it plays: ``python publisher.py FILE URL``."""

from __future__ import annotations

import sys
import time

import av


def main() -> None:
    file, url = sys.argv[1:]
    with av.open(file) as film, av.open(url, "w", format="flv") as server:
        copies = {stream.index: server.add_stream_from_template(stream) for stream in film.streams}
        began_s = time.monotonic()
        for packet in film.demux():
            if packet.dts is None or packet.time_base is None:
                continue
            time.sleep(max(0.0, float(packet.dts * packet.time_base) - (time.monotonic() - began_s)))
            packet.stream = copies[packet.stream.index]
            server.mux(packet)


if __name__ == "__main__":
    main()
