"""Findings on stdout, those that block first."""

from __future__ import annotations

from collections.abc import Sequence

from whimbrel.hosts.preflight.finding import Finding
from whimbrel.plain_text import visible

_MARKS = {"blocks": "BLOCKS", "warns": "warns", "unseen": "not seen"}


def print_findings(found: Sequence[Finding]) -> None:
    """Each with what was seen, its effect and its cure."""
    for one in sorted(found, key=lambda one: list(_MARKS).index(one.severity)):
        print(f"\n{_MARKS[one.severity]:10s}{one.code} ({one.side}): {visible(one.seen)}")
        print(f"{'':10s}effect: {one.effect}\n{'':10s}cure: {one.cure}")
