"""What every form must keep, in a real guest. There is no fake form: nothing is tested without a guest that needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as lab_guest
from whimbrel.guests.forms import FORMS, read_reach_log, wait_for_service
from whimbrel.guests.states import StateInfo, StateStore
from whimbrel.lab.lab import Lab
from whimbrel.spec.service import FormName
from whimbrel.system.deadline import Deadline, wait_until


@pytest.fixture(params=["vm", "nested"])
def form(request: pytest.FixtureRequest) -> FormName:
    name: FormName = request.param
    return name


@pytest.fixture
def state(form: FormName, states: StateStore) -> StateInfo:
    return states.get(form, "stream", 1)


@pytest.fixture
def agent(lab: Lab, state: StateInfo) -> Iterator[GuestAgent]:
    with Connection.open(lab.server_a.libvirt_uri) as connection:
        try:
            restored, _ = lab_guest.restore(lab, connection, state.folder)
            yield restored
        finally:
            found = connection.find(lab_guest.GUEST_NAME)
            if found is not None:
                found.destroy()


def test_a_form_serves_knows_itself_and_its_versions(form: FormName, state: StateInfo, agent: GuestAgent) -> None:
    wait_for_service(agent, "stream")
    identity = FORMS[form].identity(agent)
    assert identity == FORMS[form].identity(agent)
    assert identity.boot_id == state.boot_id
    assert (identity.container_id is not None) == (form == "nested")
    versions = FORMS[form].versions(agent)
    assert versions["nginx"].startswith("1.")
    assert ("docker" in versions) == (form == "nested")


def test_neighbours_reach_each_other_where_there_are_two(form: FormName, agent: GuestAgent) -> None:
    assert FORMS[form].start_reach_check(agent, 0.2) == (form == "nested")
    if form == "nested":
        lines = wait_until(
            lambda: (found if len(found := read_reach_log(agent)) >= 6 else None, "few lines"), "six questions", Deadline(20)
        )
        assert {tuple(line.split()[1:]) for line in lines} == {("vm-to-container", "ok"), ("container-to-vm", "ok")}
