"""Whether a move is another one when it is looked on: whole trials with a live page that is open, and without, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.looking_on import cpu_s_of, open_pages
from benchmarks.moves import VIEWERS, Bench
from benchmarks.pairs import Ratio, ratio, take_turns
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.events import Bus
from whimbrel.live.address import Address
from whimbrel.live.beside import Beside, Wanted

FIGURES = ("total_s", "qemu_downtime_ms", "blackout_ms", "reachability_gap_ms", "service_gap_ms", "transferred_bytes")


@dataclass
class Shown:
    """Of each figure the ratio with a page over without one, and the cores that the process beside took, trial by trial."""

    ratios: dict[str, Ratio] = field(default_factory=dict)
    cores: list[float] = field(default_factory=list)

    @property
    def beside(self) -> float:
        """The median of those."""
        return statistics.median(self.cores)


def compare(here: Bench, rounds: int, note: Callable[[str], None]) -> Shown:
    """So many pairs."""
    found: dict[bool, list[TrialFigures]] = {True: [], False: []}
    shown = Shown()

    def alone() -> float:
        return _keep(found[False], here, None)

    def looked_on() -> float:
        with Beside(Wanted(live=Address("127.0.0.1", 0, "--live")), "benchmark") as seen, Bus() as bus:
            bus.subscribe("live view", seen.observe)
            with open_pages(seen.urls["live page"], 1):
                began_s, before_s = time.monotonic(), cpu_s_of(seen.pid)
                total_s = _keep(found[True], here, bus)
                shown.cores.append((cpu_s_of(seen.pid) - before_s) / (time.monotonic() - began_s))
        assert bus.complaints == []
        return total_s

    take_turns({"with a page": looked_on, "alone": alone}, rounds, note)
    for name in FIGURES:
        pairs = [(getattr(one, name), getattr(other, name)) for one, other in zip(found[True], found[False], strict=True)]
        known = [(one, other) for one, other in pairs if one and other]
        shown.ratios[name] = ratio([one for one, _ in known], [other for _, other in known])
    return shown


def _keep(figures: list[TrialFigures], here: Bench, bus: Bus | None) -> float:
    made = figures_of(here.trial(VIEWERS, bus))
    assert made.total_s is not None
    figures.append(made)
    return made.total_s
