"""Quantities as people write them (``200 Mbit/s``, ``1 GiB``, ``300 ms``) and as programs need them.

A bare number is refused: nobody can tell what was meant. Sizes follow IEC 80000-13 (KiB = 1024 bytes)
and SI (kB = 1000 bytes); rates are in bits (``Mbit/s``) or bytes (``MiB/s``) per second.
"""

from __future__ import annotations

import datetime
import math
import re

_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_RATES = {f"{unit}/s": float(size) for unit, size in _SIZES.items()} | {
    f"{prefix}bit/s": factor / 8
    for prefix, factor in {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}.items()
}
_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z/%]+)\s*")


def _parse(text: str, units: dict[str, float], what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        known = ", ".join(units)
        raise ValueError(f"{text!r} is no {what}: write a number and a unit, such as {example!r} (units: {known})")
    value = float(match[1]) * units[match[2]]
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return value


def parse_bytes(text: str) -> int:
    """``"1 GiB"`` to bytes; ValueError when it is not a size."""
    return round(_parse(text, {unit: float(size) for unit, size in _SIZES.items()}, "size", "1 GiB"))


def parse_rate(text: str) -> float:
    """``"200 Mbit/s"`` to bytes per second; ValueError when it is not a rate."""
    return _parse(text, _RATES, "rate", "200 Mbit/s")


def parse_duration(text: str) -> float:
    """``"300 ms"`` to seconds; ValueError when it is not a duration."""
    return _parse(text, _DURATIONS, "duration", "300 ms")


def parse_share(text: str) -> float:
    """``"7 %"`` to 0.07; ValueError when it is no percentage."""
    return _parse(text, {"%": 0.01}, "share", "7 %")


def format_bytes(size_bytes: float) -> str:
    """Bytes to the IEC unit that reads best: 1536 is ``1.5 KiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size_bytes) >= _SIZES[unit]:
            return f"{size_bytes / _SIZES[unit]:.4g} {unit}"
    return f"{size_bytes:.0f} B"


def format_rate(rate_bytes_per_s: float) -> str:
    """Bytes per second to bits per second: 25e6 is ``200 Mbit/s``."""
    bits = rate_bytes_per_s * 8
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if bits >= factor:
            return f"{bits / factor:.4g} {prefix}bit/s"
    return f"{bits:.4g} bit/s"


def format_duration(duration_s: float) -> str:
    """Seconds to the unit that reads best: 0.3 is ``300 ms``, 90 is ``1 min 30 s``."""
    if duration_s < 1:
        return f"{duration_s * 1e3:.4g} ms"
    if duration_s < 60:
        return f"{duration_s:.3g} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes else []
    parts += [f"{seconds} s"] if seconds else []
    return " ".join(parts)


def format_moment(realtime_ns: int) -> str:
    """A wall clock's nanoseconds since 1970 for people: ``2026-11-29 08:49:01.123 UTC``."""
    at = datetime.datetime.fromtimestamp(realtime_ns / 1e9, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
