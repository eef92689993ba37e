"""Where calibrations say what they found: on stdout (``pytest -s``), and for docs/measuring.md."""

from __future__ import annotations


def say(what: str, truth: float, measured: float, unit: str) -> None:
    """One line: what was known, what was measured, and the error."""
    print(f"calibration | {what} | {truth:.3f} | {measured:.3f} | {measured - truth:+.3f} {unit}")
