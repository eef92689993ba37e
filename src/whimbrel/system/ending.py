"""The end of a program, awaited beside other things."""

from __future__ import annotations

import asyncio
import time

from whimbrel.system.process import Running


async def end_of(running: Running) -> int:
    """When a program ends, in ns of the monotonic clock; it is not taken off the list of processes yet."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    descriptor = running.readable_when_ended()

    def note() -> None:
        if not ended.done():
            ended.set_result(time.monotonic_ns())

    loop.add_reader(descriptor, note)
    try:
        return await ended
    finally:
        loop.remove_reader(descriptor)
