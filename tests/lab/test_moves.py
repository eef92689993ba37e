"""Real guests, moved while real viewers watch."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.labs import quick
from tests.lengths import some_long
from tests.trials import make_trial, no_guest_runs
from whimbrel.analysis.figures import derive, figures_of
from whimbrel.engines.cpus import Comparison, compare, cpu_of
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ReservationError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.techniques import TECHNIQUES
from whimbrel.records.trial import TrialRecord
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.migration import TechniqueName
from whimbrel.system.instrument import Instrument

pytestmark = pytest.mark.alone

SCENARIOS = {"baseline": 0, "vm": 2, "nested": 2}


# Each technique once and each form with two of them; the other pairs belong to ./check --all.
IN_EVERY_CHECK = {("cold", "vm"), ("pre-post-copy", "vm"), ("paused", "nested"), ("post-copy", "nested")}


@pytest.mark.parametrize(
    ("technique", "form"),
    [
        pytest.param(technique, form, marks=[] if (technique, form) in IN_EVERY_CHECK else [pytest.mark.long])
        for technique in TECHNIQUES
        for form in ("vm", "nested")
        if technique != "pre-copy"
    ],
)
def test_every_technique_moves_every_form(
    lab: Lab, states: StateStore, technique: TechniqueName, form: str, tmp_path: Path
) -> None:
    # In the middle of the first round: an idle guest would be moved before its memory could follow it.
    switch = ["migration.pre_copy_for=500 ms"] if technique == "pre-post-copy" else []
    spec = quick(f"migration.technique={technique}", "observe.witness=true", *switch)
    stored = make_trial(lab, states, spec, form, 2, tmp_path / "results")
    record = stored.record
    assert record.outcome.result == "moved", record.outcome.error
    assert record.outcome.measured, record.outcome.error
    assert record.outcome.runs_on == ["b"]
    # Whether the technique ends the guest's QEMU itself or not, nobody says that it has ended.
    assert record.end is None
    same = technique != "cold"
    assert record.outcome.same_identity == same
    # What was promised is checked by the trial itself; here, that the witness was really asked.
    assert record.witness is not None
    assert record.witness.after is not None
    assert record.witness.after.pages == 1024
    assert (record.witness.after.started == record.witness.before.started) == same
    assert (record.witness.connections == 1) == same
    figures = figures_of(stored)
    assert figures.total_s is not None
    lost = [viewer.connections_lost for viewer in figures.viewers]
    print(technique, form, figures.total_s, figures.blackout_ms, figures.service_gap_ms, lost)
    assert (lost == [0, 0]) == same
    assert (figures.post_copy_faults is not None) == (technique in ("post-copy", "pre-post-copy"))
    if technique in ("post-copy", "pre-post-copy"):
        assert any(event.name == "post-copy" for event in record.events)
        assert any(event.data.get("status") == "postcopy-active" for event in record.events)
        assert record.move is not None
        assert record.move.capabilities is not None
        # libvirt turns it on wherever memory follows: pages that are asked for overtake the others.
        assert "postcopy-preempt" in record.move.capabilities
    assert no_guest_runs(lab)


@pytest.mark.long
@pytest.mark.parametrize("rounds", [1, 2])
def test_memory_follows_after_the_rounds_that_were_asked_for(lab: Lab, states: StateStore, rounds: int, tmp_path: Path) -> None:
    # Memory that always changes makes a next round; no remainder fits into 1 ms.
    changing = "guest.dirtier={rate: 30 MiB/s, working_set: 60 MiB, pattern: sequential}"
    options = ("technique=pre-post-copy", f"pre_copy_rounds={rounds}", "max_downtime=1 ms", "bandwidth=40 MiB/s")
    spec = quick(changing, *(f"migration.{option}" for option in options))
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results")
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    [switch] = [event for event in stored.record.events if event.name == "post-copy"]
    assert switch.data["rounds"] == rounds + 1
    # What changed since the last round was missing at the destination, and asked for.
    assert figures_of(stored).post_copy_faults


@pytest.mark.long
def test_auto_converge_says_how_much_it_took(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    # What is dirtied in a round is more than half of what is sent in it, at which QEMU begins to throttle.
    changing = "guest.dirtier={rate: 60 MiB/s, working_set: 200 MiB, pattern: sequential}"
    options = ("auto_converge=true", "bandwidth=20 MiB/s", "timeout=60 s", "on_timeout=stop-and-copy")
    spec = quick(changing, *(f"migration.{option}" for option in options))
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results")
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    throttled = figures_of(stored).throttle_percent
    assert throttled is not None
    assert 20 <= throttled <= 99


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [("auto_converge=true",), ("compression=xbzrle",), ("connections=2",), ("connections=2", "compression=zstd"),
     ("max_downtime=1 ms", "raise_downtime={to: 2 s, steps: 5, every: 500 ms}"),
     ("bandwidth=170 Mbit/s", "timeout=3 s", "on_timeout=post-copy")],
    ids=lambda options: " ".join(options),
)  # fmt: skip
def test_tunables(lab: Lab, states: StateStore, options: tuple[str, ...], tmp_path: Path) -> None:
    stored = make_trial(lab, states, quick(*(f"migration.{option}" for option in options)), "vm", 1, tmp_path / "results")
    record = stored.record
    assert record.outcome.succeeded, record.outcome.error
    assert record.move is not None
    assert record.move.parameters is not None
    shown = {
        "auto_converge=true": "auto-converge" in (record.move.capabilities or []),
        "compression=xbzrle": "xbzrle" in (record.move.capabilities or []),
        "compression=zstd": record.move.parameters["multifd-compression"] == "zstd",
        "connections=2": record.move.parameters["multifd-channels"] == 2,
        # What tables and predictions give is what QEMU was told.
        "bandwidth=170 Mbit/s": record.move.parameters["max-bandwidth"]
        == record.move.parameters["max-postcopy-bandwidth"]
        == record.spec.migration.bandwidth_set_bytes_per_s
        == 20 * 2**20,
        # Nothing fits into 1 ms: without a limit that is raised it would take as many rounds as there may be.
        "max_downtime=1 ms": any(event.name == "pause limit" for event in record.events),
        "on_timeout=post-copy": any(event.data.get("status") == "postcopy-active" for event in record.events),
    }
    for option in options:
        assert shown.get(option, True), f"{option}: {record.move}"


def test_memory_that_changes_makes_a_second_round(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    # A quarter of the link is dirtied over and over: what the first round leaves takes a second one, and no third of any length.
    changing = "guest.dirtier={rate: 30 MiB/s, working_set: 60 MiB, pattern: sequential}"
    stored = make_trial(lab, states, quick(changing), "vm", 1, tmp_path / "changing")
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    rounds = figures_of(stored).rounds
    assert len(rounds) >= 2
    second = rounds[1].transferred_bytes
    assert second is None or 4 * 2**20 < second < 80 * 2**20


def test_hls_viewers_beside_rtmp_viewers(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    spec = quick("scenarios.vm.arms=[{viewers: 1, hls_viewers: 2}]")
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results", hls_viewers=2)
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    figures = figures_of(stored)
    assert len(figures.hls_viewers) == 2
    for viewer in figures.hls_viewers:
        assert viewer.startup_s is not None
        assert viewer.segments >= 3
        assert viewer.failed == 0
        # Six seconds are held, and the guest is gone for less than one.
        assert (viewer.late, viewer.stalls, viewer.stalling_mos) == (0, 0, 5)


@pytest.mark.skipif(shutil.which("vlc") is None, reason="VLC is not installed (./check installs it)")
def test_vlc_watches_beside_a_viewer_of_ours(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    spec = quick("scenarios.vm.arms=[{viewers: 1, vlc_viewers: 1}]")
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results", vlc_viewers=1)
    assert stored.record.outcome.succeeded, stored.record.outcome
    figures = figures_of(stored)
    [seen] = figures.vlc_viewers
    print(seen)
    assert seen.pictures > 100
    assert seen.startup_s is not None
    assert seen.resolution_s is not None
    # A live move is bridged by what was sent ahead.
    assert (seen.connections_lost, seen.stalled_at_end) == (0, False)
    assert seen.longest_stall_s is not None
    [cost] = [each for each in stored.record.instruments if each.name == "vlc player"]
    # VLC decodes: its own processes are counted, not our asking alone.
    assert cost.cpu_s is not None
    assert cost.cpu_s > 0.3


# Guests in which nothing runs beside are moved by most of the tests below.
@pytest.mark.parametrize("scenario", some_long(SCENARIOS, short=["baseline", "nested"]))
def test_each_scenario_moves_with_its_viewers(
    lab: Lab, states: StateStore, spec: CampaignSpec, scenario: str, tmp_path: Path
) -> None:
    stored = make_trial(lab, states, spec, scenario, SCENARIOS[scenario], tmp_path / "results")
    record = stored.record
    figures = figures_of(stored)
    assert record.outcome.result == "moved", record.outcome.error
    assert record.outcome.runs_on == ["b"]
    assert record.outcome.same_identity
    assert record.end is None
    assert record.restored_in_s is not None
    assert figures.total_s is not None
    assert figures.qemu_downtime_ms is not None
    assert figures.libvirt_downtime_ms is not None
    assert figures.blackout_ms is not None
    assert figures.reachability_gap_ms is not None
    assert figures.reachability_gap_ms >= figures.blackout_ms
    assert all(phase.length_s is not None and phase.length_s > 0 for phase in figures.phases)
    assert len(figures.viewers) == SCENARIOS[scenario]
    for viewer in figures.viewers:
        assert viewer.connections_lost == 0
        assert viewer.service_gap_ms is not None
        assert viewer.service_gap_ms > figures.blackout_ms * 0.8
        assert len(viewer.playbacks) == len(spec.stream.player_buffers_s)
    assert (record.reach is not None) == (scenario == "nested")
    if record.reach is not None:
        assert record.reach.before_ok > 0
        assert record.reach.during_ok > 0
        assert record.reach.after_ok > 0
    assert {cost.name for cost in record.instruments} >= {"sampler", "probe", "migration events"}
    assert all(cost.cpu_s is not None and cost.jitter_p99_ms is not None for cost in record.instruments)
    hosts = stored.series("hosts")
    assert hosts is not None
    assert {"a", "b", "vantage", "qemu@a", "qemu@b", "machine"} <= set(hosts.get_column("subject").unique())
    assert no_guest_runs(lab)


def aborted(lab: Lab, states: StateStore, folder: Path, *overrides: str) -> TrialRecord:
    spec = quick("migration.bandwidth=2 MiB/s", "migration.timeout=3 s", *overrides)
    return make_trial(lab, states, spec, "vm", 1, folder).record


def test_a_move_that_takes_too_long_is_aborted_and_the_guest_stays(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    record = aborted(lab, states, tmp_path / "results")
    assert record.outcome.result == "aborted"
    assert record.outcome.runs_on == ["a"]
    assert any(event.name == "abort" for event in record.events)
    figures = derive(record, {})
    assert figures.total_s is None
    logs = {file.name: file.read_text() for file in (tmp_path / "results/trials/0001-vm-1/logs").iterdir()}
    assert "a-start.log" in logs
    assert "qemu-system-x86_64" in logs["a-guest.log"]
    assert "a-guest-console.log" in logs
    assert no_guest_runs(lab)


@pytest.mark.long
def test_plain_virsh_moves_it_too_and_is_stopped_when_it_takes_too_long(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    moved = make_trial(lab, states, quick("migration.by=virsh"), "vm", 1, tmp_path / "moved").record
    assert moved.outcome.succeeded, moved.outcome.error
    stopped = aborted(lab, states, tmp_path / "stopped", "migration.by=virsh").outcome
    assert (stopped.result, stopped.runs_on) == ("aborted", ["a"]), stopped.error
    assert no_guest_runs(lab)


@pytest.mark.long
def test_a_time_out_may_stop_and_copy(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    spec = quick("migration.bandwidth=20 MiB/s", "migration.timeout=3 s", "migration.on_timeout=stop-and-copy")
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results")
    assert stored.record.outcome.result == "moved", stored.record.outcome.error
    figures = figures_of(stored)
    assert figures.blackout_ms is not None
    # Most of the memory was still to be sent when the guest was stopped.
    assert figures.blackout_ms > 1000


@pytest.mark.long
def test_after_the_most_rounds_the_guest_is_stopped_and_copied(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    # Something is always left, which does not fit into 1 ms: QEMU alone would go on for ever.
    changing = "guest.dirtier={rate: 20 MiB/s, working_set: 60 MiB, pattern: sequential}"
    spec = quick(changing, "migration.max_downtime=1 ms", "migration.max_rounds=3", "migration.bandwidth=40 MiB/s")
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results")
    assert stored.record.outcome.result == "moved", stored.record.outcome.error
    assert [event.data["rounds"] for event in stored.record.events if event.name == "stop and copy"] == [4]
    assert len(figures_of(stored).rounds) >= 4


def test_a_viewer_that_loses_its_connection_says_so_and_comes_back(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    state = states.get("vm", "stream", 1)
    configuration = {"url": f"rtmp://{lab.guest.address}/film/film.flv", "viewers": 1, "read_ahead_s": 3.0, "length_s": 240.0}
    player = Instrument(
        "player", "whimbrel.stream.player", configuration, output=tmp_path / "packets.parquet", log_file=tmp_path / "log",
        procs_files=lab.network.vantage.procs_files, wrap=lab.network.vantage.command,
    )  # fmt: skip
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        try:
            agent, _ = the_guest.restore(lab, connection, lab.guest, state.folder)
            with player:
                player.wait_for(lambda said: any(line["say"] == "playing" for line in said), "to play", 30)
                agent.shell("systemctl restart nginx.service")
                player.wait_for(lambda said: sum(line["say"] == "playing" for line in said) == 2, "to play again", 60)
        finally:
            found = connection.find(lab.guest.uuid)
            assert found is not None
            found.destroy()
    said = [line["say"] for line in player.said if "t_ns" in line]
    assert said[:3] == ["connecting", "playing", "lost"]
    assert said[-3:] == ["connecting", "playing", "stopped"]
    played = pl.read_parquet(player.output).get_column("connection").unique().sort().to_list()
    assert played == [0, said.count("lost")]


def test_a_second_claimant_is_refused(lab: Lab) -> None:
    free = lab.hosts["b"].capacity().memory_bytes
    with reserved(lab.hosts["b"], "first", free * 3 // 4, 2**20):
        with (
            pytest.raises(ReservationError, match="cannot set aside") as caught,
            reserved(lab.hosts["b"], "second", free // 2, 2**20),
        ):
            pass
        assert "first" in str(caught.value)


def test_a_restored_guest_is_where_it_was(lab: Lab, states: StateStore) -> None:
    state = states.get("vm", "stream", 1)
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        try:
            agent, _ = the_guest.restore(lab, connection, lab.guest, state.folder)
            assert agent.shell("cat /proc/sys/kernel/random/boot_id").strip() == state.boot_id
            programs = agent.shell("cat /proc/[0-9]*/comm").split()
            assert "nginx" in programs
            assert "dockerd" not in programs
            skew_s = abs(float(agent.shell("date +%s.%N")) - float(lab.hosts["a"].run(["date", "+%s.%N"]).stdout))
            assert skew_s < 2
        finally:
            found = connection.find(lab.guest.uuid)
            assert found is not None
            found.destroy()


def test_disk_space_and_memory_of_a_server_are_its_own(lab: Lab) -> None:
    capacity = lab.hosts["b"].capacity()
    assert capacity.memory_bytes == lab.spec.servers["b"].memory_bytes
    assert capacity.disk_bytes is not None
    assert capacity.disk_bytes > 2**30


def test_processors_are_compared_as_libvirt_does(lab: Lab) -> None:
    """On real libvirts: what a server lacks of a processor with one feature more is named."""
    with Connection.open(lab.hosts["a"].libvirt_uri) as a, Connection.open(lab.hosts["b"].libvirt_uri) as b:
        ours = cpu_of(a)
        if ours is None:
            pytest.skip("no KVM here to give a processor to guests")
        assert compare(ours.description, b) == Comparison("enough")
        # Too new for this libvirt, for a reason of its own.
        assert compare(ours.description.replace("</cpu>", '<feature policy="require" name="none-such"/></cpu>'), b).said
        absent = sorted({"amx-tile", "avx512-fp16", "vmx", "svm"} - ours.features)[:1]
        found = compare(ours.description.replace("</cpu>", f'<feature policy="require" name="{absent[0]}"/></cpu>'), b)
    assert (found.result, found.lacking) == ("less", tuple(absent))
    assert absent[0] in found.said
