"""Two controllers on the same two hosts: the second is told who is there, and nobody ends or overwrites what is not its own."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Protocol

import pytest

from tests.shared_hosts import SharedHosts
from whimbrel.errors import UsageError
from whimbrel.hosts.claims import confirm
from whimbrel.hosts.remote import RemoteSite, examine_hosts, hosts_ledger, owner_of
from whimbrel.images.store import ImageStore


class Controller(Protocol):
    """A site as the controller of this name sees it; from then on everything is done as that controller."""

    def __call__(self, name: str, take_over: bool = False) -> RemoteSite: ...


CLAIMS = {f"whimbrel-claim-1f9f0a34-0000-4000-8000-00000000000{number}" for number in (1, 2)}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> SharedHosts:
    found = SharedHosts()
    found.install(monkeypatch)
    monkeypatch.setenv("SUDO_USER", "ada")
    return found


@pytest.fixture
def controller(hosts: SharedHosts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Controller:
    def of(name: str, take_over: bool = False) -> RemoteSite:
        monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / name))
        spec = hosts.spec()
        return RemoteSite(spec, ImageStore(), hosts_ledger(spec.name), owner_of(spec), take_over)

    return of


def up(controller: Controller, name: str, take_over: bool = False) -> RemoteSite:
    site = controller(name, take_over)
    with site.ledger:
        site.up()
    return site


def test_the_second_is_told_owner_machine_and_time_and_leaves_nothing(hosts: SharedHosts, controller: Controller) -> None:
    first = up(controller, "first")
    hosts.a.start(first.guest.name, first.guest.uuid)
    before = dict(hosts.folder)
    assert set(before) == CLAIMS
    second = controller("second")
    with pytest.raises(UsageError) as caught, second.ledger:
        second.up()
    said = str(caught.value)
    since = json.loads(before[min(CLAIMS)])["since"]
    assert f"host a is in use by ada on {platform.node()} since {since}" in said
    assert f"its guest is there: {first.guest} on host a" in said
    assert hosts.folder == before
    assert second.ledger.entries == []
    assert list(hosts.a.domains) == [first.guest.uuid]


def test_a_vm_of_the_user_s_own_survives_everything(hosts: SharedHosts, controller: Controller) -> None:
    theirs = "0b5e7f4c-0000-4000-8000-000000000001"
    for host in (hosts.a, hosts.b):
        host.start("guest", theirs)
    site = up(controller, "first")
    assert site.hosts["a"].state_of(site.guest) == "absent"
    hosts.a.start(site.guest.name, site.guest.uuid)
    assert site.hosts["a"].state_of(site.guest) == "runs"
    site.down()
    assert [list(host.domains) for host in (hosts.a, hosts.b)] == [[theirs], [theirs]]
    assert hosts.folder == {}


def test_one_that_took_our_name_is_not_ended(hosts: SharedHosts, controller: Controller) -> None:
    site = up(controller, "first")
    theirs = "0b5e7f4c-0000-4000-8000-000000000002"
    hosts.b.start(site.guest.name, theirs)
    assert site.hosts["b"].state_of(site.guest) == "absent"
    site.down()
    assert list(hosts.b.domains) == [theirs]


def test_our_own_guest_that_no_ledger_knows_is_not_ended(hosts: SharedHosts, controller: Controller) -> None:
    site = controller("first")
    hosts.b.start(site.guest.name, site.guest.uuid)
    with pytest.raises(UsageError, match=f"host b already has the guest {site.guest}[^$]*in no ledger"), site.ledger:
        site.up()
    assert list(hosts.b.domains) == [site.guest.uuid]
    assert (hosts.folder, site.ledger.entries) == ({}, [])


def test_a_stale_claim_is_named_and_taken_over_only_when_asked_to(hosts: SharedHosts, controller: Controller) -> None:
    first = up(controller, "first")
    hosts.folder[f"{first.guest.name}.qcow2"] = b"theirs"
    with pytest.raises(UsageError, match=r"none of its guests is there any more[^$]*--take-over"):
        up(controller, "second")
    second = up(controller, "second", True)
    assert {json.loads(hosts.folder[name])["guests"].popitem()[1] for name in CLAIMS} == {second.guest.uuid}
    # The first comes back: it is told, and takes with it only what it made.
    again = controller("first")
    with pytest.raises(UsageError, match=f"taken over by ada on {platform.node()} since"):
        confirm(again.ledger)
    again.down()
    assert set(hosts.folder) == {*CLAIMS, f"{first.guest.name}.qcow2"}
    confirm(controller("second").ledger)
    second.down()
    assert set(hosts.folder) == {f"{first.guest.name}.qcow2"}


def test_a_claim_is_not_taken_over_while_its_guest_runs(hosts: SharedHosts, controller: Controller) -> None:
    first = up(controller, "first")
    hosts.b.start(first.guest.name, first.guest.uuid)
    with pytest.raises(UsageError, match=f"{first.guest} on host b[^$]*not taken over as long as its guest is there"):
        up(controller, "second", True)
    assert list(hosts.b.domains) == [first.guest.uuid]
    confirm(first.ledger)


def test_a_claim_that_says_nothing_is_one(hosts: SharedHosts, controller: Controller) -> None:
    hosts.folder[min(CLAIMS)] = b""
    with pytest.raises(UsageError, match="host a is in use by somebody who did not say who"):
        up(controller, "first")
    assert hosts.folder == {min(CLAIMS): b""}
    up(controller, "first", True)
    assert set(hosts.folder) == CLAIMS


def test_whoever_recovers_from_silent_hosts_is_not_kept_from_it(
    hosts: SharedHosts, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    site = up(controller, "first")
    hosts.a.away = True
    confirm(site.ledger)
    [said] = caplog.messages
    assert said.startswith(f"whether the hosts are still ours is not known: libvirt could not connect to {hosts.a.uri}")
    assert set(hosts.folder) == CLAIMS


def test_others_on_other_hosts_of_the_same_folder_are_not_in_the_way(hosts: SharedHosts, controller: Controller) -> None:
    hosts.folder["whimbrel-claim-1f9f0a34-0000-4000-8000-000000000009"] = b"{}"
    up(controller, "first").down()
    assert set(hosts.folder) == {"whimbrel-claim-1f9f0a34-0000-4000-8000-000000000009"}


def test_doctor_names_who_uses_them(hosts: SharedHosts, controller: Controller) -> None:
    up(controller, "first")

    def said() -> tuple[bool, str]:
        [found] = [finding for finding in examine_hosts(hosts.spec()) if finding.name == "use by others"]
        return found.works, found.seen

    assert said() == (True, "hosts a and b are in use by us")
    controller("second")
    works, seen = said()
    assert not works
    assert f"host a is in use by ada on {platform.node()}" in seen
    assert set(hosts.folder) == CLAIMS
