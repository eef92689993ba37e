"""What every form must keep: the real ones in a real guest, and the fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from tests.fakes import FakeForm
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as the_guest
from whimbrel.guests.forms import FORMS, Form, read_reach_log, wait_for_service
from whimbrel.guests.states import StateInfo, StateStore
from whimbrel.lab.lab import Lab
from whimbrel.services.nginx import STREAM
from whimbrel.system.deadline import Deadline, wait_until

pytestmark = pytest.mark.alone


@dataclass
class Staged:
    form: Form
    agent: GuestAgent
    boot_id: str


@contextmanager
def restored(lab: Lab, state: StateInfo) -> Iterator[GuestAgent]:
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        try:
            yield the_guest.restore(lab, connection, lab.guest, state.folder)[0]
        finally:
            found = connection.find(lab.guest.uuid)
            if found is not None:
                found.destroy()


@pytest.fixture(params=["vm", "nested", "fake"])
def staged(request: pytest.FixtureRequest, lab: Lab, states: StateStore) -> Iterator[Staged]:
    if request.param == "fake":
        # The fake asks nothing of its guest.
        yield Staged(FakeForm(), cast("GuestAgent", None), "fake boot")
        return
    state = states.get(request.param, "stream", 1)
    with restored(lab, state) as agent:
        wait_for_service(agent, STREAM)
        yield Staged(FORMS[request.param], agent, state.boot_id)


def test_a_form_knows_itself_and_its_versions(staged: Staged) -> None:
    form, agent = staged.form, staged.agent
    identity = form.identity(agent)
    assert identity == form.identity(agent)
    assert identity.boot_id == staged.boot_id
    assert (identity.container_id is not None) == (form.name == "nested")
    versions = form.versions(agent, STREAM)
    assert versions["nginx"].startswith("1.")
    assert ("docker" in versions) == (form.name == "nested")


def test_neighbours_reach_each_other_where_there_are_two(staged: Staged) -> None:
    agent = staged.agent
    assert staged.form.start_reach_check(agent, STREAM, 0.2) == (staged.form.name == "nested")
    if staged.form.name == "nested":
        lines = wait_until(
            lambda: (found if len(found := read_reach_log(agent)) >= 6 else None, "few lines"), "six questions", Deadline(20)
        )
        assert {tuple(line.split()[1:]) for line in lines} == {("vm-to-container", "ok"), ("container-to-vm", "ok")}
