"""Quantities given as options."""

from __future__ import annotations

from whimbrel.errors import UsageError
from whimbrel.units import parse_duration


def duration_s(option: str, text: str, least_s: float = 0.0) -> float:
    """An option's duration in seconds; UsageError names the option when it is not one, or shorter than ``least_s``."""
    try:
        found_s = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if found_s < least_s:
        raise UsageError(f"{option} {text}: at least {least_s:g} s")
    return found_s
