"""A site of hosts that somebody else runs: what is looked at before anything is put there, and what is taken away again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.shared_hosts import SharedHosts
from whimbrel.errors import UsageError
from whimbrel.hosts.remote import RemoteSite, hosts_ledger, owner_of
from whimbrel.images.store import ImageStore


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> SharedHosts:
    found = SharedHosts()
    found.install(monkeypatch)
    return found


def site_of(hosts: SharedHosts) -> RemoteSite:
    spec = hosts.spec("theirs")
    return RemoteSite(spec, ImageStore(), hosts_ledger(spec.name), owner_of(spec))


def test_what_is_put_there_is_listed_before_it_is_there_and_may_be_on_any_host(hosts: SharedHosts) -> None:
    site = site_of(hosts)
    with site.ledger:
        site.up()
        listed = [json.loads(entry.name) for entry in site.ledger.entries if entry.kind == "domain"]
        name, uuid = site.guest.name, site.guest.uuid
        assert listed == [{"uri": host.uri, "name": name, "uuid": uuid} for host in (hosts.a, hosts.b)]
        assert [host.domains for host in (hosts.a, hosts.b)] == [{}, {}]
        # It has moved meanwhile, and goes from where it is.
        hosts.b.start(name, uuid)
        site.down()
        assert (hosts.b.domains, hosts.folder, site.ledger.entries) == ({}, {}, [])


def test_hosts_that_still_have_something_of_ours_are_not_taken_again(hosts: SharedHosts) -> None:
    site = site_of(hosts)
    with site.ledger:
        site.up()
    for keep, cure in ((False, "'whimbrel gc' removes it"), (True, "'whimbrel undeploy' ends it")):
        with site_of(hosts).ledger as ledger:
            if keep:
                ledger.keep("{}", elsewhere=True)
        again = site_of(hosts)
        with pytest.raises(UsageError) as caught, again.ledger:
            again.up()
        assert (caught.value.brief, caught.value.resolution) == ("something of ours is still on the hosts 'theirs'", cure)
    with site.ledger:
        site.down()


def test_two_names_of_one_host_are_refused_before_anything_is_put_there(hosts: SharedHosts) -> None:
    hosts.b.number = hosts.a.number
    site = site_of(hosts)
    with pytest.raises(UsageError, match="hosts a and b are one host"), site.ledger:
        site.up()
    assert (hosts.folder, site.ledger.entries) == ({}, [])


def test_a_folder_that_is_not_shared_is_found_out_and_the_proof_is_taken_away(hosts: SharedHosts) -> None:
    hosts.b.folder = {}
    site = site_of(hosts)
    with pytest.raises(UsageError, match="host b does not see what host a writes into /srv/shared"), site.ledger:
        site.up()
    assert (hosts.folder, hosts.b.folder, site.ledger.entries) == ({}, {}, [])


def test_a_host_that_is_silent_leaves_nothing_on_the_other(hosts: SharedHosts) -> None:
    hosts.b.away = True
    site = site_of(hosts)
    with pytest.raises(Exception, match="could not connect"), site.ledger:
        site.up()
    assert (hosts.folder, site.ledger.entries) == ({}, [])


def test_only_what_is_ours_can_be_shaped_mended_or_moved_along(hosts: SharedHosts) -> None:
    site = site_of(hosts)
    assert (site.network.bridge, site.network.prefix_length, dict(site.network.carriers)) == ("br0", 24, {})
    site.network.shape_links(hosts.spec().link_rate_bytes_per_s)
    with pytest.raises(UsageError, match="are not ours to shape"):
        site.network.shape_links(1e6)
    assert (site.mend(), site.cells, site.accounting.cpu_placement) == ([], None, {})
    assert site.files.own_disk(site.guest, site.hosts["a"]) is None  # type: ignore[func-returns-value]
    assert site.network.vantage.command(["true"]) == ["true"]


def test_its_room_is_the_hosts_memory_and_what_is_free_in_the_shared_folder(hosts: SharedHosts) -> None:
    capacity = site_of(hosts).hosts["a"].capacity()
    # 8 GiB, 2 of them free, and 2 that page cache or shared memory have.
    assert (capacity.memory_bytes, capacity.sure_memory_bytes, capacity.disk_bytes) == (4 * 2**30, 2 * 2**30, 100 * 2**30)


def test_saved_states_are_of_one_version_of_what_runs_guests_and_of_one_folder(
    hosts: SharedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site_of(hosts).platform
    assert first.id == site_of(hosts).platform.id
    monkeypatch.setattr(hosts.a, "versions", lambda: {"libvirt": "11.3.0", "qemu": "10.1.0"})
    # What was read once stays, for one site.
    assert first.id == first.id != site_of(hosts).platform.id
    assert first.accelerator(Path("/nowhere")) == "tcg"


def test_each_installation_has_guests_of_its_own(hosts: SharedHosts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = site_of(hosts).guest
    assert ours == site_of(hosts).guest
    assert (ours.name.startswith("whimbrel-theirs-"), ours.address) == (True, "10.0.0.100")
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "another"))
    theirs = site_of(hosts).guest
    assert not {ours.name, ours.uuid, ours.mac} & {theirs.name, theirs.uuid, theirs.mac}
