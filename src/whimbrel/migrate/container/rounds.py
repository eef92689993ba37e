"""When do rounds of pre-dump end? Pure.

The rules of p.haul (phaul/iters.py): a round that wrote few pages leaves little for the last dump; one that wrote more than the
one before will not get better; and there is an end to patience. A fourth is ours: two rounds that wrote about as much as the
one before each say that this is what is written meanwhile, and a further one would only say it again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

FEW_PAGES = 64
MOST_GROWTH = 0.10
LEAST_SHRINKING = 0.10
MOST_ROUNDS = 8


def enough(pages_written: Sequence[int], most_rounds: int) -> str | None:
    """Why no further round is to be made, from the pages of each so far; None to go on.

    Worked example: 1,256 pages, then 9: few are left. 1,256, then 900, then 1,000: they grow by 11 %.
    """
    if not pages_written:
        return None
    last = pages_written[-1]
    if last <= FEW_PAGES:
        return f"few pages are left: {last}"
    if len(pages_written) > 1 and last > pages_written[-2] * (1 + MOST_GROWTH):
        return f"they grow: {pages_written[-2]} pages, then {last}"
    if len(pages_written) > 2 and all(
        after > before * (1 - LEAST_SHRINKING) for before, after in itertools.pairwise(pages_written[-3:])
    ):
        return f"they no longer shrink: {last} pages"
    if len(pages_written) >= most_rounds:
        return f"{most_rounds} rounds were made"
    return None
