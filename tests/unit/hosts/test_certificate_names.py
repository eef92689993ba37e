"""Whom the certificate of a move's destination must be for: moves go to addresses, and many certificates have names alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import GUEST, FakeHost
from whimbrel.engines.binding import libvirt
from whimbrel.engines.libvirt_moves import parameters_of
from whimbrel.hosts.remote import RemoteHost
from whimbrel.migrate.live import options_of
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.hosts import RemoteHostSpec
from whimbrel.spec.migration import MigrationSpec

TLS, SSH = "qemu+tls://two.example/system", "qemu+ssh://root@two/system"


def host(**said: Any) -> RemoteHost:
    return RemoteHost("b", RemoteHostSpec.model_validate({"libvirt": TLS, "address": "10.0.0.2", **said}), "/srv", "whimbrel")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        pytest.param({}, "two.example", id="an address, and libvirt by a name that TLS verifies"),
        pytest.param({"libvirt": SSH}, None, id="a name that only ssh knows"),
        pytest.param({"libvirt": SSH, "peer_libvirt": TLS}, "two.example", id="the peer's way counts"),
        pytest.param({"libvirt": "qemu+tls://10.0.0.2/system"}, None, id="an address everywhere"),
        pytest.param({"libvirt": "qemu+tls://[fe80::2]/system", "address": "fe80::2"}, None, id="an IPv6 address everywhere"),
        pytest.param({"address": "fast.example"}, None, id="memory goes to a name: that is looked for"),
        pytest.param({"certificate_name": "moves.example"}, "moves.example", id="said"),
        pytest.param({"address": "fast.example", "certificate_name": "moves.example"}, "moves.example", id="said beside a name"),
    ],
)
def test_a_move_looks_for_the_name_that_a_certificate_can_have(said: dict[str, str], name: str | None) -> None:
    assert host(**said).peering.certificate_name == name


@pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")
@pytest.mark.parametrize(("tls", "expected"), [(True, "two.example"), (False, None)])
def test_libvirt_is_told_that_name_where_the_move_is_encrypted(tls: bool, expected: str | None) -> None:
    request = MoveRequest(GUEST, FakeHost("a"), host(), 2**30, 2**30, MigrationSpec(tls=tls))
    assert parameters_of(options_of(request)).get("tls.destination") == expected


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no name or address of a host"):
        host(certificate_name="-x")
