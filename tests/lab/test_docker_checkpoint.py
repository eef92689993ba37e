"""Docker's own checkpoint, tried: why containers are moved without it (docs/decisions/0006-containers-between-carriers.md)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.labs import quick
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab

pytestmark = pytest.mark.long

_RUNS = "docker inspect --format '{{.State.Running}}'"


def said(agent: GuestAgent, command: str) -> tuple[bool, str]:
    """Whether a command of Docker's succeeds, and what it prints."""
    printed = agent.shell(f"{command} 2>&1 && echo succeeded", timeout_s=180, check=False)
    print(command, "->", printed)
    return printed.rstrip().endswith("succeeded"), printed


@pytest.fixture
def agent(lab: Lab) -> Iterator[GuestAgent]:
    """A guest in which the service runs in a container of Docker's."""
    spec = quick()
    state = StateStore(lab, spec.guest, spec.stream).get("nested", "stream", 1)
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        found, _ = the_guest.restore(lab, connection, lab.guest, state.folder)
        try:
            yield found
        finally:
            the_guest.take_power_away(lab.hosts["a"], lab.guest)


def test_dockers_own_checkpoint_goes_nowhere_else(agent: GuestAgent) -> None:
    container = agent.shell("docker ps --format '{{.Names}}'").strip()
    # As it comes it is switched off.
    succeeded, printed = said(agent, f"docker checkpoint create {container} first")
    assert not succeeded
    assert "experimental" in printed
    agent.write("/etc/docker/daemon.json", '{"experimental": true, "log-driver": "none"}')
    agent.shell(f"systemctl restart docker.service && docker start {container}", timeout_s=180)
    # It saves a container, which then stands still, and restores it into itself.
    assert said(agent, f"docker checkpoint create {container} kept")[0]
    assert agent.shell(f"{_RUNS} {container}").strip() == "false"
    assert said(agent, f"docker start --checkpoint kept {container}")[0]
    assert agent.shell(f"{_RUNS} {container}").strip() == "true"
    # It saves into a folder that could be sent, but no other container, as it would be on another host, is restored from one.
    assert said(agent, f"docker checkpoint create --checkpoint-dir /root/saved {container} moved")[0]
    assert said(agent, f"docker create --name other --volume /srv/film:/srv/film:ro {container} nginx -g 'daemon off;'")[0]
    succeeded, printed = said(agent, "docker start --checkpoint-dir /root/saved --checkpoint moved other")
    assert not succeeded
    assert "custom checkpointdir is not supported" in printed
