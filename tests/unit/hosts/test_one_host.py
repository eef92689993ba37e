"""One host under two names is refused before anything is done, and two hosts with one UUID are told apart from that."""

from __future__ import annotations

import pytest

from tests.fakes import FakeHost
from whimbrel.errors import UsageError
from whimbrel.hosts.identity import HostIdentity
from whimbrel.hosts.one_host import refuse_hosts_that_are_one, refuse_one_host, why_not_two

UUID = "4c4c4544-0042-4810-8056-b4c04f395931"
OTHER = UUID.replace("4c", "5c")


def host(name: str, uuid: str, own_name: str) -> FakeHost:
    made = FakeHost(name)
    made.machine = HostIdentity(uuid, own_name)
    return made


def test_one_host_under_two_names_is_refused() -> None:
    a, b = host("a", UUID, "server-a"), host("b", UUID, "server-a")
    with pytest.raises(UsageError, match="hosts a and b are one host, server-a") as caught:
        refuse_one_host(a, b)
    assert "stop nothing" in caught.value.resolution
    assert why_not_two(a, b).startswith("hosts a and b are one host, server-a")


def test_two_hosts_with_one_uuid_are_told_what_to_set() -> None:
    with pytest.raises(UsageError, match="server-a and server-b, have one UUID") as caught:
        refuse_one_host(host("a", UUID, "server-a"), host("b", UUID, "server-b"))
    assert "host_uuid" in caught.value.resolution


def test_two_hosts_are_two() -> None:
    a, b = host("a", UUID, "same-name"), host("b", UUID.replace("4c", "5c"), "same-name")
    refuse_one_host(a, b)
    assert why_not_two(a, b) == ""


def test_a_host_that_does_not_say_which_it_is_is_not_known_to_be_another() -> None:
    a, b = host("a", UUID, "server-a"), host("b", UUID.replace("4c", "5c"), "server-b")
    b.silent = True
    assert why_not_two(a, b) == "host b does not answer"


def test_any_two_of_several_are_compared() -> None:
    hosts = [host("a", UUID.replace("4c", "5c"), "server-c"), host("b", UUID, "server-a"), host("c", UUID, "server-a")]
    with pytest.raises(UsageError, match="hosts b and c are one host, server-a"):
        refuse_hosts_that_are_one(hosts)
