"""Bad days: harm done in every phase of a move. What is said afterwards must be true, and a new try must succeed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_days import A_TRY, assert_a_new_try_succeeds, assert_it_is_true, harmed_trial
from tests.labs import quick
from tests.lengths import some_long
from tests.saboteur import PHASE_BEGINS, Harm, Saboteur, cut_link, kill, kill_program, power_cut, set_link
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.engines.libvirt import Connection
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.process import run

PHASES = ["reservation", *PHASE_BEGINS, "after"]

A_AND_B_LOSE_POWER = [(f"power cut of {name}", power_cut(name), phase) for name in "ab" for phase in PHASES]
PROGRAMS_DIE = [
    (f"{program} of {name} killed", kill_program(name, program), phase)
    for program in ("qemu-system", "libvirtd")
    for name in "ab"
    for phase in ("pre-copy", "stop-and-copy", "activation")
]
# How it ends: what came of the move, and where the guest runs then.
LOST, STAYS, THERE = ("unsafe", ()), ("failed", ("a",)), ("moved", ("b",))
# It runs on b, and another copy stands still on a: that is for a recovery.
TWO = ("unsafe", ("b",))
# Several where it depends on how much had been sent, or on what libvirt had been told, in the milliseconds before the harm came.
ENDS: dict[tuple[str, str], set[tuple[str, tuple[str, ...]]]] = {
    ("power cut of a", "reservation"): {LOST},
    ("power cut of a", "pre-copy"): {LOST},
    ("power cut of a", "stop-and-copy"): {LOST, THERE},
    ("power cut of a", "commitment"): {LOST, THERE},
    ("power cut of a", "activation"): {THERE},
    ("power cut of a", "after"): {THERE},
    ("power cut of b", "reservation"): {STAYS},
    ("power cut of b", "pre-copy"): {STAYS},
    # What was sent may have run and written since: then the source does not go on as if nothing had been.
    ("power cut of b", "stop-and-copy"): {STAYS, LOST},
    ("power cut of b", "commitment"): {LOST},
    ("power cut of b", "activation"): {LOST},
    ("power cut of b", "after"): {LOST},
    ("qemu-system of a killed", "pre-copy"): {LOST},
    ("qemu-system of a killed", "stop-and-copy"): {LOST, THERE},
    ("qemu-system of a killed", "activation"): {THERE},
    ("qemu-system of b killed", "pre-copy"): {STAYS},
    ("qemu-system of b killed", "stop-and-copy"): {STAYS, LOST},
    # libvirt on b may still tell that on a, which then lets its guest go on.
    ("qemu-system of b killed", "activation"): {STAYS, LOST},
    ("libvirtd of a killed", "pre-copy"): {STAYS},
    ("libvirtd of a killed", "stop-and-copy"): {STAYS, LOST, THERE},
    # It runs on b, and a libvirtd that starts again leaves what stood still on a as it was.
    ("libvirtd of a killed", "activation"): {TWO, THERE},
    ("libvirtd of b killed", "pre-copy"): {STAYS},
    ("libvirtd of b killed", "stop-and-copy"): {STAYS, LOST},
    ("libvirtd of b killed", "activation"): {TWO, THERE},
}
# One power cut and one program: the rest takes minutes and belongs to ./check --all. Nobody left is in test_command_line.
QUICK = {("power cut of b", "pre-copy")}


def bad_days() -> Iterator[object]:
    for name, harm, phase in A_AND_B_LOSE_POWER + PROGRAMS_DIE:
        marks = [] if (name, phase) in QUICK else [pytest.mark.long]
        yield pytest.param(name, harm, phase, id=f"{name} in {phase}", marks=marks)


@pytest.mark.parametrize(("name", "harm", "phase"), list(bad_days()))
def test_after_harm_what_is_said_is_true_and_a_new_try_succeeds(
    mended: Lab, states: StateStore, name: str, harm: Harm, phase: str, tmp_path: Path
) -> None:
    stored = harmed_trial(mended, states, harm, phase, tmp_path / "harmed")
    outcome = stored.record.outcome
    print(outcome)
    assert (outcome.result, tuple(outcome.runs_on)) in ENDS[name, phase]
    if not outcome.succeeded:
        assert_it_is_true(mended, stored)
        assert outcome.error is not None
        assert "What to do: " in outcome.error or outcome.result == "moved"
        assert any(word in outcome.error for word in ("phase", "had moved")), outcome.error
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")


def test_a_link_cut_for_three_seconds_delays_the_move(mended: Lab, states: StateStore, tmp_path: Path) -> None:
    stored = harmed_trial(mended, states, cut_link("b", 3.0), "pre-copy", tmp_path / "harmed")
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    figures = figures_of(stored)
    assert figures.total_s is not None
    assert figures.total_s > 3


@pytest.mark.long
@pytest.mark.parametrize("phase", ["pre-copy", "stop-and-copy"])
def test_a_link_cut_for_good_ends_the_move_and_the_guest_stays(
    mended: Lab, states: StateStore, phase: str, tmp_path: Path
) -> None:
    stored = harmed_trial(mended, states, cut_link("b", None), phase, tmp_path / "harmed", "migration.timeout=8 s")
    outcome = stored.record.outcome
    print(outcome)
    # Where all had been sent, and nobody heard whether it arrived, neither side goes on.
    ends = {STAYS, ("aborted", ("a",))} | ({LOST} if phase == "stop-and-copy" else set())
    assert (outcome.result, tuple(outcome.runs_on)) in ends
    assert_it_is_true(mended, stored)
    set_link(mended, "b", "up")
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")


def kill_instrument(name: str) -> Harm:
    def harm(lab: Lab) -> None:
        groups = [Cgroup(f"{lab.spec.name}/instruments"), Cgroup(f"{lab.spec.name}/vantage")]
        members = [member for group in groups for member in group.processes()]
        victims = [member for member in members if f".{name}" in Path(f"/proc/{member.pid}/cmdline").read_text()]
        assert victims
        for victim in victims:
            kill(victim)

    return harm


@pytest.mark.parametrize("name", some_long(["sampler", "probe", "player"], short=["player"]))
def test_without_an_instrument_the_trial_does_not_go_on_blind(mended: Lab, states: StateStore, name: str, tmp_path: Path) -> None:
    stored = harmed_trial(mended, states, kill_instrument(name), "stop-and-copy", tmp_path / "harmed")
    outcome = stored.record.outcome
    assert outcome.result == "moved"
    assert not outcome.measured
    assert outcome.error is not None
    assert f"the {name} ended in the middle" in outcome.error
    assert_it_is_true(mended, stored)


def reset_one_viewer(lab: Lab) -> None:
    """Breaks one viewer's connection off, as a firewall would."""
    inside = ["nsenter", f"--net=/run/netns/whimbrel-{lab.spec.name}-vantage"]
    open_ones = run([*inside, "ss", "-Htn", "state", "established", "dport", "=", ":1935"]).stdout.split()
    port = open_ones[2].rpartition(":")[2]
    run([*inside, "ss", "-Ktn", "state", "established", "sport", "=", f":{port}"])


def test_a_viewer_that_is_cut_off_comes_back_and_is_told(mended: Lab, states: StateStore, tmp_path: Path) -> None:
    saboteur = Saboteur(mended, "pre-copy", reset_one_viewer)
    with saboteur.at_work():
        stored = make_trial(mended, states, quick(*A_TRY), "vm", 2, tmp_path / "harmed", notice=saboteur.told)
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    lost = [viewer.connections_lost for viewer in figures_of(stored).viewers]
    assert sorted(lost) == [0, 1], lost
    assert any(
        "1 of 2 viewers lost their connection" in line for line in build_report(CampaignFolder.open(tmp_path / "harmed")).problems
    )


def in_guest_after(seconds: float, command: str) -> Harm:
    """Begun before the move has the guest to itself, so that it comes in the middle of it."""

    def harm(lab: Lab) -> None:
        with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
            domain = connection.find(lab.guest.uuid)
            assert domain is not None
            domain.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", f"sleep {seconds}; {command}"]})

    return harm


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "how"), [("echo o >/proc/sysrq-trigger", "shut down"), ("echo c >/proc/sysrq-trigger", "panicked")],
    ids=["powered off", "hung"],
)  # fmt: skip
def test_a_guest_that_ends_or_hangs_meanwhile(mended: Lab, states: StateStore, command: str, how: str, tmp_path: Path) -> None:
    stored = harmed_trial(mended, states, in_guest_after(0.5, command), "reservation", tmp_path / "harmed")
    outcome, end = stored.record.outcome, stored.record.end
    print(outcome, end)
    # Where it was when it ended is said as well: it may have come to host b before.
    assert end is not None
    assert (outcome.result, outcome.runs_on, end.how) == ("unsafe", [], how)
    assert_it_is_true(mended, stored)
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")


@pytest.mark.long
def test_a_destination_that_runs_out_of_memory_loses_only_its_own_copy(mended: Lab, states: StateStore, tmp_path: Path) -> None:
    group = Cgroup(mended.hosts["b"].config.cgroup)
    limit = next(file for name in ("memory.limit_in_bytes", "memory.max") if (file := group.folder("memory") / name).exists())
    before = limit.read_text()

    def shrink(_: Lab) -> None:
        limit.write_text(str(150 * 2**20))

    try:
        stored = harmed_trial(mended, states, shrink, "pre-copy", tmp_path / "harmed")
    finally:
        limit.write_text(before)
    outcome = stored.record.outcome
    print(outcome)
    assert (outcome.result, outcome.runs_on) == ("failed", ["a"])
    assert_it_is_true(mended, stored)
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")
