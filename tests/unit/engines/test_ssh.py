"""ssh never waits for somebody to type."""

from __future__ import annotations

import pytest

from whimbrel.hosts.remote import RemoteHost
from whimbrel.spec.hosts import RemoteHostSpec
from whimbrel.spec.libvirt_uri import without_asking


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("qemu+ssh://one/system", "qemu+ssh://one/system?no_tty=1"),
        ("qemu+ssh://one/system?keyfile=/k", "qemu+ssh://one/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://one/system?no_tty=0", "qemu+ssh://one/system?no_tty=0"),
        ("qemu+tls://one/system", "qemu+tls://one/system"),
    ],
)
def test_ssh_is_told_that_nobody_answers(uri: str, opened: str) -> None:
    assert without_asking(uri) == opened


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (None, "qemu+ssh://one/system?no_tty=1"),
        ("qemu+ssh://me@one/system?keyfile=/k", "qemu+ssh://me@one/system?keyfile=/k&no_tty=1"),
        ("qemu+tls://one/system", "qemu+tls://one/system"),
    ],
)
def test_so_is_the_ssh_of_the_other_host(peer: str | None, told: str) -> None:
    content = {"libvirt": "qemu+ssh://one/system?keyfile=/ours", "address": "10.0.0.1"} | ({"peer_libvirt": peer} if peer else {})
    assert RemoteHost("a", RemoteHostSpec.model_validate(content), "/srv", "whimbrel").peering.peer_uri == told
