"""HLS viewers: each plays a stream in segments over HTTP and logs every segment; all in one process and one thread.

Run as ``python -m whimbrel.stream.hls_player CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from whimbrel.records.series import SEGMENTS_SCHEMA, write_series
from whimbrel.stream.hls_viewer import HlsViewer
from whimbrel.stream.segment_tracks import TrackFinder
from whimbrel.system.child import Child, Looks, Readings, configuration

_LOOK_S = 0.05
# It looks that often; longer than this without a look is a hole.
_HOLE_S = 0.5
# So many fit into a line.
_VIEWERS_PER_READING = 100


async def play(given: dict[str, Any], child: Child, looks: Looks) -> tuple[list[HlsViewer], list[float]]:
    """Plays with all viewers until told to stop; they, and how late the loop came round each time, in seconds."""
    finder = TrackFinder()
    arrivals_ns: dict[int, int] = {}
    viewers = [
        HlsViewer(number, given["url"], given["buffer_s"], child, finder, partial(arrivals_ns.__setitem__, number))
        for number in range(1, given["viewers"] + 1)
    ]
    playing = [asyncio.create_task(viewer.run(), name=f"hls-{viewer.number}") for viewer in viewers]
    child.say("ready")
    lateness_s: list[float] = []
    readings = Readings()
    while not child.stopping:
        due_s = time.monotonic() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        lateness_s.append(max(0.0, time.monotonic() - due_s))
        looks.note()
        hand_on(viewers, arrivals_ns, readings, lateness_s[-1])
        for task in playing:
            if task.done():
                task.result()  # what nobody foresaw fails the whole player
    child.say("stopped", t_ns=time.monotonic_ns())
    for task in playing:
        task.cancel()
    await asyncio.gather(*playing, return_exceptions=True)
    return viewers, lateness_s


def hand_on(viewers: Sequence[HlsViewer], arrivals_ns: Mapping[int, int], readings: Readings, late_s: float) -> None:
    """Of each viewer how many segments it has asked for, and when the last one came; columns, for many viewers at a time.

    And that we were so late ourselves, the last time.
    """
    now_ns = time.monotonic_ns()
    if not readings.due(now_ns):
        return
    for first in range(0, len(viewers), _VIEWERS_PER_READING):
        some = viewers[first : first + _VIEWERS_PER_READING]
        readings.give(
            t_ns=now_ns,
            viewer=[viewer.number for viewer in some],
            segments=[len(viewer.rows) for viewer in some],
            arrived_ns=[arrivals_ns.get(viewer.number) for viewer in some],
            lateness_s=late_s,
        )


def main() -> None:
    """Plays, then writes every viewer's log."""
    child = Child()
    looks = Looks(_HOLE_S)
    given: dict[str, Any] = configuration()
    viewers, lateness_s = asyncio.run(play(given, child, looks))
    rows = [row for viewer in viewers for row in viewer.rows]
    write_series(pl.DataFrame(rows, schema=SEGMENTS_SCHEMA, orient="row"), given["output"])
    child.say_cost(lateness_s, looks)


if __name__ == "__main__":
    main()
