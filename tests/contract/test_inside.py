"""What every inside must keep: a guest by its agent, and a cell of a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from whimbrel.engines.libvirt import Connection
from whimbrel.errors import GuestError, UsageError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.hosts.inside import Inside
from whimbrel.lab.lab import Lab
from whimbrel.system.deadline import Deadline, wait_until

pytestmark = pytest.mark.alone


@pytest.fixture(params=["guest", "cell"])
def inside(request: pytest.FixtureRequest, lab: Lab, states: StateStore) -> Iterator[Inside]:
    if request.param == "cell":
        cell = lab.cells.open(lab.hosts["a"])
        yield cell
        cell.close()
        assert cell.gone
        return
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        agent, _ = the_guest.restore(lab, connection, lab.guest, states.get("vm", "none", 1).folder)
        yield agent
        domain = connection.find(lab.guest.uuid)
        assert domain is not None
        domain.destroy()


def test_commands_and_files(inside: Inside) -> None:
    assert inside.run(["/bin/echo", "a b", "c"]) == "a b c\n"
    assert inside.shell("echo said; exit 3", check=False) == "said\n"
    with pytest.raises(GuestError, match="exit code 3"):
        inside.shell("exit 3")
    inside.write("/run/small", "first\n")
    inside.write("/run/small", "ä 'quoted' $second\n")
    assert inside.read("/run/small").decode() == "ä 'quoted' $second\n"
    with pytest.raises(GuestError, match="cannot be read"):
        inside.read("/run/absent")


def test_a_job_goes_on_and_is_told_to_end(inside: Inside) -> None:
    inside.write("/run/job.sh", "trap 'echo told >/run/said; exit' TERM\nsleep 1000 &\nwhile :; do sleep 0.05; done\n")
    assert not inside.job_runs("job")
    inside.start_job("job", ["bash", "/run/job.sh"], "/run/job.err")
    assert inside.job_runs("job")
    wait_until(
        lambda: (True if "sleep" in inside.shell("cat /proc/*/comm", check=False) else None, "none yet"),
        "its child",
        Deadline(10),
    )
    inside.end_job("job")
    assert not inside.job_runs("job")
    assert inside.read("/run/said") == b"told\n"
    # What it had started and left alone has gone with it.
    assert "sleep 1000" not in inside.shell("cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '")
    inside.end_job("job")


def test_a_server_has_room_for_one_container(lab: Lab) -> None:
    cell = lab.cells.open(lab.hosts["b"])
    try:
        with pytest.raises(UsageError, match="already has a container"):
            lab.cells.open(lab.hosts["b"])
        assert not lab.hosts["b"].gone
    finally:
        cell.close()
    assert cell.gone
    assert not lab.hosts["b"].gone
