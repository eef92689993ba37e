"""How fast guest memory goes out when the link alone does not decide: compression and parallel connections."""

from __future__ import annotations

from whimbrel.errors import UsageError


def compressed_bytes_per_s(link_bytes_per_s: float, ratio: float, cpu_bytes_per_s: float) -> float:
    """Guest memory sent per second when it is compressed: the least of what the link carries and what the CPU packs.

    ``ratio`` is memory over stream (2 means half the size), ``cpu_bytes_per_s`` memory packed per second by all threads.
    Source: QEMU docs/devel/migration (multifd-compression): packing and sending overlap, so the slower one decides.
    Worked example: a link of 100 MB/s, ratio 3, 250 MB/s of packing: 250 MB/s, not 300.
    """
    if not (ratio > 0 and cpu_bytes_per_s > 0):
        raise UsageError("a compression ratio and a packing rate must be above 0")
    return min(link_bytes_per_s * ratio, cpu_bytes_per_s)


def parallel_bytes_per_s(link_bytes_per_s: float, channels: int, channel_bytes_per_s: float) -> float:
    """Guest memory sent per second over ``channels`` connections, each fed by a thread that manages ``channel_bytes_per_s``.

    Source: QEMU docs/devel/migration (multifd): one thread per channel; together they cannot exceed the link.
    """
    if channels < 1 or not channel_bytes_per_s > 0:
        raise UsageError("there must be at least one channel, with a rate above 0")
    return min(link_bytes_per_s, channels * channel_bytes_per_s)
