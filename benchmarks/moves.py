"""Our move against plain virsh, instruments on against off, and what a trial costs; one lab, the same saved states."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pairs import Ratio, ratio, take_turns
from whimbrel.analysis.figures import figures_of
from whimbrel.engines.libvirt import Connection
from whimbrel.events import Bus
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateInfo, StateStore
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.migrate.by_virsh import ByVirsh
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import MoveRequest, Technique
from whimbrel.moves.instruments import Instruments
from whimbrel.moves.notes import Invocation
from whimbrel.moves.working_folder import working_folder
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Plan
from whimbrel.services.client import CLIENTS
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.deadline import pause
from whimbrel.trial.trial import Trial

SCENARIO = Path(__file__).parents[1] / "scenarios" / "quick.yaml"
VIEWERS = 5
# As many as the benchmarks' moves have.
ALL_VIEWERS = (1, VIEWERS, 10)


@dataclass
class Bench:
    """A lab with one guest's saved state, and every trial made on it."""

    lab: Lab
    spec: CampaignSpec
    state: StateInfo
    campaign: CampaignFolder
    trials: list[StoredTrial] = field(default_factory=list)
    extra_s: list[float] = field(default_factory=list)

    def trial(self, viewers: int, bus: Bus | None = None) -> StoredTrial:
        """A whole trial of ours, and how long it took beside what it was asked to take; told of on ``bus``."""
        order = len(self.trials) + 1
        plan = vm_plan(viewers, order)
        began_s = time.monotonic()
        with working_folder(self.lab.ledger, order) as folder:
            record = Trial(self.lab, self.spec, plan, self.state, folder, Invocation("benchmark", None), bus or Bus()).run()
            stored = self.campaign.commit(folder, record)
        took_s = time.monotonic() - began_s
        figures = figures_of(stored)
        assert figures.total_s is not None, record.outcome.error
        observe = self.spec.observe
        self.extra_s.append(took_s - figures.total_s - observe.at_rest_s - observe.before_s - observe.after_s)
        self.trials.append(stored)
        return stored

    def with_viewers_only(self, technique: Technique) -> float:
        """libvirt's own total time, in s, of a move that nothing of ours watches but viewers, and QEMU's own events."""
        hosts = [self.lab.hosts["a"], self.lab.hosts["b"]]
        with tempfile.TemporaryDirectory() as folder, Connection.open(self.lab.hosts["a"].libvirt_uri) as connection:
            player = Instruments(self.lab, self.spec, vm_plan(VIEWERS, 1), hosts, Path(folder)).client(CLIENTS["viewers"])
            try:
                the_guest.restore(self.lab, connection, self.lab.guest, self.state.folder)
                with player:
                    player.wait_for(lambda said: sum(line["say"] == "playing" for line in said) == VIEWERS, "to play", 60)
                    pause(self.spec.observe.before_s)
                    stats = self.without_instruments(technique)
            finally:
                for host in hosts:
                    the_guest.take_power_away(host, self.lab.guest)
        assert stats is not None
        return stats["time_elapsed"] / 1000

    def without_instruments(self, technique: Technique) -> dict[str, int] | None:
        """One move by ours or by plain virsh; libvirt's own statistics of it."""
        with MigrationEvents((self.lab.guest, self.lab.guest), self.lab.hosts["a"], self.lab.hosts["b"]) as events:
            request = MoveRequest(self.lab.guest, self.lab.hosts["a"], self.lab.hosts["b"], self.spec.guest.memory_bytes,
                                  self.spec.guest.disk_bytes, self.spec.migration)  # fmt: skip
            report = technique.move(request, events)
        assert report.result == "moved", report.error
        return report.completed


def bench_spec(*changes: str) -> CampaignSpec:
    """The file's VM that streams, in a lab of the benchmarks' own, with an arm for each number of viewers."""
    arms = ", ".join(f"{{viewers: {viewers}, trials: 1}}" for viewers in ALL_VIEWERS)
    return load_campaign(SCENARIO, ["lab.name=benchmark", f"scenarios.vm.arms=[{arms}]", *changes])


def vm_plan(viewers: int, order: int) -> Plan:
    """A streaming VM that so many watch."""
    return Plan(scenario="vm", arm=f"vm-{viewers}", form="vm", viewers=viewers, block=order, order=order, state_boot=1)


@contextmanager
def bench(note: Callable[[str], None]) -> Iterator[Bench]:
    """A lab of its own, up for the benchmark."""
    spec = bench_spec()
    with ledger_of(spec.lab.name) as ledger, tempfile.TemporaryDirectory() as folder:
        ledger.undo_all()
        lab = Lab(spec.lab, ImageStore(note), ledger)
        lab.up()
        try:
            state = StateStore(lab, spec.guest, spec.stream).get("vm", "stream", 1)
            yield Bench(lab, spec, state, CampaignFolder.create(Path(folder) / "results", spec, "benchmark", []))
        finally:
            lab.down()


def line_share(stored: StoredTrial) -> float | None:
    """Bytes that left A's link while memory was sent, over what the line could carry in that time."""
    figures = figures_of(stored)
    phase = next(phase for phase in figures.phases if phase.name == "pre-copy")
    hosts = stored.series("hosts")
    if hosts is None or phase.from_ns is None or phase.to_ns is None:
        return None
    rows = hosts.filter((hosts["subject"] == "a") & hosts["t_ns"].is_between(phase.from_ns, phase.to_ns)).sort("t_ns")
    sent, times = rows["net_sent_bytes"].to_list(), rows["t_ns"].to_list()
    share: float = (sent[-1] - sent[0]) / ((times[-1] - times[0]) / 1e9) / stored.record.spec.lab.link_rate_bytes_per_s
    return share


def instrument_cores(stored: StoredTrial) -> float:
    """CPU of all instruments, in cores, over the time that they ran."""
    hosts = stored.series("hosts")
    assert hosts is not None
    span_s: float = (hosts["t_ns"].to_numpy().max() - hosts["t_ns"].to_numpy().min()) / 1e9
    return sum(cost.cpu_s or 0.0 for cost in stored.record.instruments) / span_s


def compare_moves(here: Bench, rounds: int, note: Callable[[str], None]) -> tuple[Ratio, Ratio]:
    """Our whole trial against plain virsh, and against our own move without instruments: libvirt's total times."""

    def whole_trial() -> float:
        move = here.trial(VIEWERS).record.move
        assert move is not None
        assert move.completed is not None
        return move.completed["time_elapsed"] / 1000

    found = take_turns(
        {
            "trial": whole_trial,
            "bare": lambda: here.with_viewers_only(LiveMove("pre-copy")),
            "virsh": lambda: here.with_viewers_only(ByVirsh("pre-copy")),
        },
        rounds,
        note,
    )
    return ratio(found["trial"], found["virsh"]), ratio(found["trial"], found["bare"])
