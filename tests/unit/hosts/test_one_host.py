"""One host under two names is refused before anything is done, and two hosts with one UUID are told apart from that."""

from __future__ import annotations

import pytest

from whimbrel.errors import UsageError
from whimbrel.hosts.remote import refuse_one_host

UUID = "4c4c4544-0042-4810-8056-b4c04f395931"


def test_one_host_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="are one host, server-a") as caught:
        refuse_one_host((UUID, "server-a"), (UUID, "server-a"))
    assert "stop nothing" in caught.value.resolution


def test_two_hosts_with_one_uuid_are_told_what_to_set() -> None:
    with pytest.raises(UsageError, match="server-a and server-b, have one UUID") as caught:
        refuse_one_host((UUID, "server-a"), (UUID, "server-b"))
    assert "host_uuid" in caught.value.resolution


def test_two_hosts_are_two() -> None:
    refuse_one_host((UUID, "same-name"), (UUID.replace("4c", "5c"), "same-name"))
