"""A real libvirt without a hypervisor (its test driver): claims in descriptions, and all that is read of a host."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from tests.own_hosts import OwnHosts
from whimbrel.engines.binding import libvirt
from whimbrel.engines.guest_addresses import addresses_of
from whimbrel.engines.hypervisor import HostMemory, Hypervisor
from whimbrel.engines.libvirt import Connection
from whimbrel.engines.libvirt_facts import (
    Network,
    StoragePool,
    Volume,
    host_facts,
    list_guests,
    processors,
    volume_at,
    would_take,
)
from whimbrel.errors import NoGuestError, RefusedError
from whimbrel.own import claim as claims
from whimbrel.own.claim import NAMESPACE, OwnClaim, claim, give_back, read_claim
from whimbrel.own.guest import describe, difference, find_guest

pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

UUID = "5a1e7f4c-0000-4000-8000-000000000001"
DESCRIPTION = f"""<domain type="test"><name>shop</name><uuid>{UUID}</uuid><memory unit="MiB">64</memory>
<metadata><x:y xmlns:x="urn:of:others"><z/></x:y></metadata><os><type arch="i686">hvm</type></os></domain>"""


class TestDriver(Connection):
    """libvirt's own, which says nothing of memory."""

    __test__ = False

    def memory(self) -> HostMemory:
        return HostMemory(2, 1, 0, 0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDriver]:
    monkeypatch.setattr(claims, "SETTLES_S", 0.0)
    raw = libvirt.open("test:///default")
    made = raw.defineXML(DESCRIPTION)
    made.create()
    yield TestDriver("test:///default", raw)
    if made.isActive():
        made.destroy()
    made.undefine()
    raw.close()


@pytest.fixture(params=["libvirt", "fake"])
def either(request: pytest.FixtureRequest, host: TestDriver, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real one, and the one that stands in for it where guests move."""
    return host if request.param == "libvirt" else OwnHosts(monkeypatch).one


def test_a_claim_is_seen_while_it_runs_and_never_in_what_is_kept(either: Hypervisor) -> None:
    guest = find_guest(either, "shop")
    assert guest is not None
    before = guest.definition
    assert read_claim(guest) is None
    claim(guest, "ours", take_over=False)
    found = read_claim(guest)
    assert isinstance(found, OwnClaim)
    assert found.token == "ours"
    assert NAMESPACE not in guest.definition
    assert difference(before, guest.definition) == []
    give_back(guest, "theirs")
    assert read_claim(guest) is not None
    give_back(guest, "ours")
    assert read_claim(guest) is None
    assert difference(before, guest.definition) == []


def test_a_guest_is_found_by_its_name_and_by_its_uuid(either: Hypervisor) -> None:
    for name in ("shop", UUID):
        found = find_guest(either, name)
        assert found is not None
        assert (found.name, found.uuid, found.active, found.executing, found.persistent) == ("shop", UUID, True, True, True)
    assert find_guest(either, "till") is None
    assert find_guest(either, UUID[:-1] + "9") is None
    assert "shop" in {guest.name for guest in either.running()}


def test_a_guest_starts_with_its_host_once_that_was_said(either: Hypervisor) -> None:
    guest = find_guest(either, "shop")
    assert guest is not None
    assert not guest.autostart
    guest.set_autostart(True)
    assert guest.autostart


def test_what_others_have_put_into_a_description_stays(host: TestDriver) -> None:
    guest = find_guest(host, "shop")
    assert guest is not None
    claim(guest, "ours", take_over=False)
    raw = host.raw.lookupByUUIDString(UUID)
    assert NAMESPACE in raw.XMLDesc(0)
    assert "urn:of:others" in raw.XMLDesc(0)
    give_back(guest, "ours")
    assert NAMESPACE not in raw.XMLDesc(0)
    assert "urn:of:others" in raw.XMLDesc(0)


def test_a_claim_that_a_destination_has_kept_goes_as_well(host: TestDriver) -> None:
    guest = find_guest(host, UUID)
    assert guest is not None
    raw = host.raw.lookupByUUIDString(UUID)
    raw.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, "<claim token='ours'/>", "whimbrel", NAMESPACE,
                    libvirt.VIR_DOMAIN_AFFECT_CONFIG | libvirt.VIR_DOMAIN_AFFECT_LIVE)  # fmt: skip
    assert NAMESPACE in guest.definition
    give_back(guest, "ours")
    assert NAMESPACE not in guest.definition + raw.XMLDesc(0)


def test_what_is_known_of_a_guest_before_it_moves(host: TestDriver) -> None:
    guest = find_guest(host, "shop")
    assert guest is not None
    known = describe(guest)
    assert (known.identity.uuid, known.memory_bytes, known.persistent, known.autostart) == (UUID, 64 * 2**20, True, False)
    guest.destroy()
    with pytest.raises((NoGuestError, RefusedError)):
        read_claim(guest)


def test_guests_are_listed_with_what_their_host_says(host: TestDriver) -> None:
    listed = {guest.name: guest for guest in list_guests(host)}
    assert (listed["shop"].state, listed["shop"].uuid, listed["shop"].persistent) == ("runs", UUID, True)
    # This driver has no figures of theirs: they are unknown.
    assert (listed["shop"].memory_bytes, listed["shop"].vcpus) == (None, None)
    assert processors(host) == 16


def test_what_a_host_has_is_read_and_what_it_does_not_say_is_unknown(host: TestDriver) -> None:
    found = host_facts(host, ET.fromstring(DESCRIPTION))
    assert found.networks == {"default": Network(True, "nat")}
    assert found.pools == (StoragePool("default-pool", "/default-pool", True),)
    assert found.links == frozenset({"eth1"})
    assert (found.secrets, found.firmware) == (None, None)
    assert (found.cpus, found.numa_nodes) == (frozenset(range(16)), frozenset({0, 1}))
    assert found.free_huge_pages.keys() == {8192, 2 * 2**20, 2**30}
    assert found.guests["shop"] == UUID
    assert UUID in found.active
    assert would_take(host, DESCRIPTION) is None


def test_files_are_looked_for_in_the_pool_that_holds_them(host: TestDriver) -> None:
    pool = host.raw.storagePoolLookupByName("default-pool")
    made = pool.createXML("<volume><name>a.img</name><capacity>1048576</capacity></volume>", 0)
    assert volume_at(host, "/default-pool/a.img") == Volume(2**20, "")
    assert volume_at(host, "/default-pool/b.img") is None
    made.delete(0)
    for elsewhere in ("/elsewhere/a.img", "/default-pool/below/a.img"):
        with pytest.raises(RefusedError, match="no storage pool of the host holds"):
            volume_at(host, elsewhere)


def test_where_a_guest_is_as_far_as_libvirt_knows(host: TestDriver) -> None:
    # libvirt's test driver makes addresses up for each link, but has no agent.
    guest = host.find_named("test")
    assert guest is not None
    assert addresses_of(guest) == ["192.168.122.3"]
    shop = host.find_named("shop")
    assert shop is not None
    assert addresses_of(shop) == []
