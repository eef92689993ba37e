"""A trial with harm in it: what is true afterwards, and a lab that is whole again for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.labs import quick
from tests.saboteur import Harm, Saboteur, processes, server, set_link
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import NoGuestError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.records.store import StoredTrial

A_TRY = ("observe.before=1 s", "observe.after=3 s", "observe.at_rest=0.3 s")


def where_it_runs(lab: Lab) -> list[str]:
    """Where a copy executes, by looking rather than by asking whimbrel: a QEMU whose processors are not stopped."""
    found = []
    for name in "ab":
        if processes(lab, name, "qemu-system"):
            with Connection.open(server(lab, name).libvirt_uri) as connection:
                domain = connection.find(lab.guest.uuid)
                # QEMU may be just going.
                with suppress(NoGuestError):
                    if domain is not None and domain.monitor("query-status")["running"]:
                        found.append(name)
    return found


def discard(lab: Lab) -> None:
    for name in "ab":
        if not server(lab, name).gone:
            the_guest.take_power_away(server(lab, name), lab.guest)


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
    if outcome.result == "unsafe":
        assert len(outcome.runs_on) != 1 or "stands still" in outcome.error, outcome.error
    else:
        assert len(outcome.runs_on) == 1
    assert (stored.folder / "logs").is_dir()
    figures = figures_of(stored)
    assert figures.total_s is None
    assert figures.blackout_ms is None


def assert_a_new_try_succeeds(lab: Lab, states: StateStore, folder: Path, *overrides: str) -> None:
    discard(lab)
    lab.mend()
    again = make_trial(lab, states, quick(*A_TRY, *overrides), "vm", 1, folder)
    assert again.record.outcome.succeeded, again.record.outcome.error
