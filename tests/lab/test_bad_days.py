"""Bad days: harm done in every phase of a move. What is said afterwards must be true, and a new try must succeed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_moves import make_trial
from tests.labs import quick
from tests.saboteur import PHASE_BEGINS, Harm, Saboteur, kill_program, power_cut, processes, server, set_link
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as lab_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.records.store import StoredTrial
from whimbrel.report.load import figures_of

PHASES = ["reservation", *PHASE_BEGINS, "after"]
A_TRY = ("observe.before=1 s", "observe.after=3 s", "observe.at_rest=0.3 s")

A_AND_B_LOSE_POWER = [(f"power cut of {name}", power_cut(name), phase) for name in "ab" for phase in PHASES]
PROGRAMS_DIE = [
    (f"{program} of {name} killed", kill_program(name, program), phase)
    for program in ("qemu-system", "libvirtd")
    for name in "ab"
    for phase in ("pre-copy", "stop-and-copy", "activation")
]
# One power cut, one program and one with nobody left: the rest takes minutes and belongs to ./check --all.
QUICK = {("power cut of b", "pre-copy"), ("libvirtd of a killed", "pre-copy"), ("power cut of b", "after")}


def bad_days() -> Iterator[object]:
    for name, harm, phase in A_AND_B_LOSE_POWER + PROGRAMS_DIE:
        marks = [] if (name, phase) in QUICK else [pytest.mark.long]
        yield pytest.param(harm, phase, id=f"{name} in {phase}", marks=marks)


def where_it_runs(lab: Lab) -> list[str]:
    """Where a copy executes, by looking rather than by asking whimbrel: a QEMU whose processors are not stopped."""
    found = []
    for name in "ab":
        if processes(lab, name, "qemu-system"):
            with Connection.open(server(lab, name).libvirt_uri) as connection:
                domain = connection.find(lab_guest.GUEST_NAME)
                status = domain.monitor("query-status") if domain is not None else None
            if status is not None and status["running"]:
                found.append(name)
    return found


def discard(lab: Lab) -> None:
    for name in "ab":
        if not server(lab, name).gone:
            with Connection.open(server(lab, name).libvirt_uri) as connection:
                domain = connection.find(lab_guest.GUEST_NAME)
                if domain is not None:
                    domain.destroy()


@pytest.fixture
def mended(lab: Lab) -> Iterator[Lab]:
    yield lab
    for name in "ab":
        set_link(lab, name, "up")
    discard(lab)
    lab.mend()


def harmed_trial(lab: Lab, states: StateStore, harm: Harm, phase: str, folder: Path, *overrides: str) -> StoredTrial:
    """A trial with harm in it; its guest is left as it is when it failed."""
    saboteur = Saboteur(lab, phase, harm)
    with saboteur.at_work():
        return make_trial(
            lab, states, quick(*A_TRY, *overrides), "vm", 1, folder, notice=saboteur.told, keep_on_failure=True
        )  # fmt: skip


def assert_it_is_true(lab: Lab, stored: StoredTrial) -> None:
    """What the record says of the guest is so, and a trial that failed gives no duration."""
    outcome = stored.record.outcome
    assert outcome.error is not None
    assert outcome.runs_on == where_it_runs(lab)
    assert (len(outcome.runs_on) == 1) == (outcome.result != "unsafe"), outcome.error
    assert (stored.folder / "logs").is_dir()
    figures = figures_of(stored)
    assert figures.total_s is None
    assert figures.blackout_ms is None


def assert_a_new_try_succeeds(lab: Lab, states: StateStore, folder: Path) -> None:
    discard(lab)
    lab.mend()
    again = make_trial(lab, states, quick(*A_TRY), "vm", 1, folder)
    assert again.record.outcome.succeeded, again.record.outcome.error


@pytest.mark.parametrize(("harm", "phase"), list(bad_days()))
def test_after_harm_what_is_said_is_true_and_a_new_try_succeeds(
    mended: Lab, states: StateStore, harm: Harm, phase: str, tmp_path: Path
) -> None:
    stored = harmed_trial(mended, states, harm, phase, tmp_path / "harmed")
    outcome = stored.record.outcome
    print(outcome)
    if not outcome.succeeded:
        assert_it_is_true(mended, stored)
        assert outcome.error is not None
        assert "What to do: " in outcome.error
        assert any(word in outcome.error for word in ("phase", "had moved")), outcome.error
    assert_a_new_try_succeeds(mended, states, tmp_path / "again")
