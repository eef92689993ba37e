"""One host under two names is refused before anything is done, and two hosts with one UUID are told apart from that."""

from __future__ import annotations

import pytest

from whimbrel.errors import UsageError
from whimbrel.hosts.remote import refuse_one_host

UUID = "4c4c4544-0042-4810-8056-b4c04f395931"
OTHER = UUID.replace("4c", "5c")


def test_one_host_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="hosts b and c are one host, server-a") as caught:
        refuse_one_host({"a": (OTHER, "server-c"), "b": (UUID, "server-a"), "c": (UUID, "server-a")})
    assert "stop nothing" in caught.value.resolution


def test_two_hosts_with_one_uuid_are_told_what_to_set() -> None:
    with pytest.raises(UsageError, match="server-a and server-b, have one UUID") as caught:
        refuse_one_host({"a": (UUID, "server-a"), "b": (UUID, "server-b")})
    assert "host_uuid" in caught.value.resolution


def test_two_hosts_are_two() -> None:
    refuse_one_host({"a": (UUID, "same-name"), "b": (OTHER, "same-name")})
