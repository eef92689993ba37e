"""Saved states made two at a time against those made one after the other: how long it takes, and whether their moves differ."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.moves import bench_spec, vm_plan
from benchmarks.pairs import Ratio, ratio
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.events import Bus
from whimbrel.images.jobs import make_all
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.making import make_states
from whimbrel.moves.needs import state_jobs
from whimbrel.moves.notes import Invocation
from whimbrel.moves.starts import Starts
from whimbrel.moves.working_folder import working_folder
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan
from whimbrel.trial.trial import Trial

# Of no campaign.
_FIRST_BOOT = 9001
_VIEWERS = 1


@dataclass
class Found:
    """Per round and way: how long two states took to make; and of a move from each state, the figures."""

    took_s: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "together": []})
    total_s: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "together": []})
    blackout_ms: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "together": []})
    state_bytes: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "together": []})

    def note(self, way: str, figures: TrialFigures, state_bytes: int) -> None:
        """One move."""
        assert figures.total_s is not None
        assert figures.blackout_ms is not None
        self.total_s[way].append(figures.total_s)
        self.blackout_ms[way].append(figures.blackout_ms)
        self.state_bytes[way].append(state_bytes)

    def ratios(self) -> dict[str, Ratio]:
        """Together over alone."""
        series = {"time to make two": self.took_s, "total time": self.total_s, "blackout": self.blackout_ms,
                  "bytes of the state": self.state_bytes}  # fmt: skip
        return {what: ratio(each["together"], each["alone"]) for what, each in series.items()}


def compare(rounds: int, note: Callable[[str], None]) -> Found:
    """In each round two states are made each way, the ways in turn first, and the guest of each is moved once."""
    spec = bench_spec("lab.link_rate=1 Gbit/s")
    found = Found()
    with ledger_of(spec.lab.name) as ledger, tempfile.TemporaryDirectory() as folder:
        ledger.undo_all()
        store = ImageStore(note)
        lab = Lab(spec.lab, store, ledger)
        lab.up()
        try:
            starts = Starts(lab)
            campaign = CampaignFolder.create(Path(folder) / "results", spec, "benchmark", [])
            for number in range(rounds):
                first = _FIRST_BOOT + 4 * number
                plans = [vm_plan(_VIEWERS, order).model_copy(update={"state_boot": order}) for order in range(first, first + 4)]
                ways = {"alone": plans[:2], "together": plans[2:]}
                order = ["alone", "together"] if number % 2 == 0 else ["together", "alone"]
                for way in order:
                    began_s = time.monotonic()
                    wanted = [(spec, plan) for plan in ways[way]]
                    if way == "alone":
                        make_all(state_jobs(wanted, starts), store, note)
                    else:
                        make_states(wanted, starts, lab, note)
                    found.took_s[way].append(time.monotonic() - began_s)
                for position in range(2):
                    for way in order:
                        _move(lab, starts, ways[way][position], campaign, way, found)
        finally:
            lab.down()
            for image in store.images():
                if _is_ours(image.id):
                    store.remove(image.id)
    return found


def _move(lab: Lab, starts: Starts, plan: Plan, campaign: CampaignFolder, way: str, found: Found) -> None:
    spec = bench_spec("lab.link_rate=1 Gbit/s")
    state = starts.get(spec, plan)
    with working_folder(lab.ledger, plan.order) as folder:
        record = Trial(lab, spec, plan, state, folder, Invocation("benchmark", None), Bus()).run()
        stored = campaign.commit(folder, record)
    assert record.rest is not None, record.outcome.error
    assert record.rest.state_memory_bytes is not None
    found.note(way, figures_of(stored), record.rest.state_memory_bytes)


def _is_ours(name: str) -> bool:
    words: Sequence[str] = name.split("-")
    return words[0] == "state" and any(word.isdigit() and len(word) == 4 and int(word) >= _FIRST_BOOT for word in words[1:-1])
