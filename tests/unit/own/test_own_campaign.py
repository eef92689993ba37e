"""A campaign on a guest of the user's own: there and back, in blocks with arms, and in the end it is where it was."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.own_hosts import FROM, TO, OwnHosts
from whimbrel.analysis.figures import figures_of
from whimbrel.api.running import Campaigning, make_campaign, write_report
from whimbrel.campaign import plan_trials
from whimbrel.errors import CapabilityError, RefusedError, SpecError, UnsafeStateError, UsageError
from whimbrel.events import TRIAL_BEGUN, TRIAL_DONE, Bus, Published
from whimbrel.hosts.preflight.finding import finding
from whimbrel.moves.notes import Invocation
from whimbrel.own.campaign import OwnCampaign, as_found
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Event
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign

FILE = f"""\
schema_version: 1
name: shop
hosts:
  servers:
    one: {{libvirt: "{FROM}", address: one.example}}
    two: {{libvirt: "{TO}", address: two.example}}
guest: {{domain: shop}}
scenarios:
  - name: techniques
    title: Two techniques
    factors: {{technique: [pre-copy, post-copy]}}
    trials: 2
"""


def load(tmp_path: Path, text: str = FILE) -> CampaignSpec:
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    return load_campaign(file)


def run(spec: CampaignSpec, folder: Path, keep_on_failure: bool = False, bus: Bus | None = None) -> CampaignFolder:
    resumed = folder.exists()
    wanted = Campaigning(spec, plan_trials(spec), folder, "whimbrel run", resumed, keep_on_failure)
    make_campaign(wanted, bus or Bus())
    return CampaignFolder.open(folder)


def begun_or_done(news: Sequence[Published]) -> list[tuple[str, int]]:
    return [
        (each.name, each.data["order"]) for each in news if isinstance(each, Event) and each.name in (TRIAL_BEGUN, TRIAL_DONE)
    ]


def test_it_moves_there_and_back_and_is_where_it_was_in_the_end(hosts: OwnHosts, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    with Bus() as bus:
        bus.subscribe("test", lambda news: told.extend(begun_or_done(news)), samples=False)
        folder = run(load(tmp_path), tmp_path / "results", bus=bus)
    # Moves between trials are nobody's business.
    assert told == [(name, order) for order in (1, 2, 3, 4) for name in (TRIAL_BEGUN, TRIAL_DONE)]
    trials = [stored.record for stored in folder.trials()]
    assert [(each.plan.block, each.plan.source, each.plan.destination) for each in trials] == [
        (1, "one", "two"), (1, "one", "two"), (2, "two", "one"), (2, "two", "one"),
    ]  # fmt: skip
    assert sorted(each.spec.migration.technique for each in trials) == ["post-copy", "post-copy", "pre-copy", "pre-copy"]
    assert {each.outcome.result for each in trials} == {"moved"}
    assert (hosts.runs_on, hosts.kept_on, hosts.notes) == (["one"], ["one"], [])
    assert {(each.spec.guest.memory_bytes, each.spec.guest.vcpus) for each in trials} == {(2**30, 1)}
    report = write_report(folder, figures=False)
    assert [(arm.moved, arm.total_s.median is not None) for arm in report.arms] == [(2, True), (2, True)]
    assert all(figures_of(stored).total_s is not None for stored in folder.trials())


def test_it_goes_on_where_it_was_interrupted(hosts: OwnHosts, tmp_path: Path) -> None:
    made: list[int] = []

    def interrupt() -> None:
        made.append(1)
        if len(made) == 4:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.5)

    spec = load(tmp_path)
    hosts.guest.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "results")
    orders = [stored.record.plan.order for stored in CampaignFolder.open(tmp_path / "results").trials()]
    assert len(made) == 4
    assert hosts.notes == []
    folder = run(spec, tmp_path / "results")
    assert [stored.record.plan.order for stored in folder.trials()] == [1, 2, 3, 4]
    assert orders == [1, 2]


def test_what_blocks_a_move_stops_the_campaign(hosts: OwnHosts, tmp_path: Path) -> None:
    hosts.against = [finding("snapshots", "one", "2 of them")]
    with pytest.raises(CapabilityError, match="shop cannot be moved: snapshots"):
        run(load(tmp_path), tmp_path / "results")
    assert hosts.runs_on == ["one"]


def test_a_move_that_fails_is_a_result_and_the_next_ones_are_made(hosts: OwnHosts, tmp_path: Path) -> None:
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="the moon is full", number=1)
    folder = run(load(tmp_path, FILE.replace("trials: 2", "trials: 1")), tmp_path / "results")
    assert [stored.record.outcome.result for stored in folder.trials()] == ["failed", "failed"]
    assert hosts.runs_on == ["one"]


def test_the_first_failure_may_be_the_last_trial(hosts: OwnHosts, tmp_path: Path) -> None:
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="the moon is full", number=1)
    folder = run(load(tmp_path), tmp_path / "results", keep_on_failure=True)
    assert [stored.record.outcome.result for stored in folder.trials()] == ["failed"]


def test_one_that_nobody_finds_is_not_called_moved(hosts: OwnHosts, tmp_path: Path) -> None:
    spec = load(tmp_path)
    hosts.guest.runs = False
    with pytest.raises(UsageError, match="shop runs on none of the hosts one and two"):
        as_found(spec)
    begun = CampaignFolder.create(tmp_path / "begun", spec, "whimbrel run", plan_trials(spec))
    with pytest.raises(UnsafeStateError, match="shop runs on none of its hosts"):
        OwnCampaign(begun, Invocation(command="", commit=None), Bus()).run()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("guest: {domain: shop}", "guest: {domain: shop, dirtier: {rate: 1 MiB/s, working_set: 16 MiB}}"), "guest.dirtier"),
        (
            ("technique: [pre-copy, post-copy]", "technique: [pre-copy, cold]"),
            "is not for a guest of your own: it moves as it runs",
        ),
        (("technique: [pre-copy, post-copy]", "viewers: [1, 2]"), "viewers need a stream to watch"),
        (("technique: [pre-copy, post-copy]", "memory: ['1 GiB', '2 GiB']"), "cannot change a guest of your own"),
        (
            ("guest: {domain: shop}", "observe: {probe_every: 10 ms}\nguest: {domain: shop}"),
            "observe.probe_every: knows no address of your guest",
        ),
        (("guest: {domain: shop}", "guest: {memory: 1 GiB}"), "scenarios"),
        (("hosts:", "lab: {}\nnothing:"), "nothing"),
        (("guest: {domain: shop}", "observe: {profile_for: 10 s}\nguest: {domain: shop}"), "profile_for: is not for a guest"),
        (("guest: {domain: shop}", "migration: {after: set-clock}\nguest: {domain: shop}"), "leaves its clock alone"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, FILE.replace(*change))
    assert said in str(caught.value)


def test_hosts_without_a_folder_are_for_a_guest_of_ones_own_alone(tmp_path: Path) -> None:
    text = FILE.replace("guest: {domain: shop}\n", "").replace("    title:", "    form: vm\n    service: none\n    title:")
    with pytest.raises(SpecError, match=r"hosts.storage: is missing; only a guest of your own \('guest.domain'\) needs none"):
        load(tmp_path, text)
