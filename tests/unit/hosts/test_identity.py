"""Guests on hosts that others use too have names of their own; in labs they are the same, so that states are shared."""

from __future__ import annotations

import re
import uuid

from whimbrel.hosts.identity import GuestIdentity, Owner, identity_in_lab

ONE, OTHER = uuid.UUID("3a9f1c2e-0000-4000-8000-000000000001"), uuid.UUID("b77d0a10-0000-4000-8000-000000000001")


def test_no_two_owners_sites_or_roles_share_anything_that_hosts_tell_guests_by() -> None:
    owners = Owner(ONE, "hosts"), Owner(OTHER, "hosts"), Owner(ONE, "shop")
    found = [owner.identity(role, "10.0.0.100") for owner in owners for role in ("guest", "second")]
    for key in ("name", "uuid", "mac"):
        assert len({getattr(identity, key) for identity in found}) == len(found), key
    assert all(re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", identity.mac) for identity in found)


def test_a_later_command_finds_the_same_guest() -> None:
    first, later = (Owner(uuid.UUID(str(ONE)), "shop").identity("guest", "10.0.0.100") for _ in range(2))
    assert first == later
    assert (first.name, str(first)) == ("whimbrel-shop-3a9f1c2e-guest",) * 2


def test_labs_keep_the_guest_of_the_states_that_are_stored() -> None:
    assert identity_in_lab("guest", 100, "10.77.0.100") == GuestIdentity(
        "guest", "e0419eae-a0ff-52bc-b9e8-d3f68b1ddfae", "52:54:00:77:00:64", "10.77.0.100"
    )
    carriers = [identity_in_lab(f"carrier-{side}", position, "") for side, position in (("a", 101), ("b", 102))]
    assert [vm.mac for vm in carriers] == ["52:54:00:77:00:65", "52:54:00:77:00:66"]
    assert len({vm.uuid for vm in carriers}) == 2
