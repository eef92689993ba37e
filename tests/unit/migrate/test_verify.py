"""What is said of a guest of which there is not exactly one copy, and what to do about it."""

from __future__ import annotations

import pytest

from tests.fakes import GUEST, ORIGIN, FakeHost
from whimbrel.errors import UnsafeStateError
from whimbrel.hosts.host import GuestState, Place
from whimbrel.migrate import verify


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)


def said(places: tuple[Place, Place]) -> str:
    with pytest.raises(UnsafeStateError) as caught:
        verify.exactly_one(ORIGIN, places)
    return str(caught.value)


def hosts(*states: GuestState) -> tuple[Place, Place]:
    a, b = FakeHost("a"), FakeHost("b")
    for host, state in zip((a, b), states, strict=True):
        host.guests[ORIGIN.uuid] = state
    return a, b


def test_each_case_names_what_is_there_and_what_to_do() -> None:
    assert "runs on a and b" in said(hosts("runs", "runs"))
    assert "'virsh destroy' on b" in said(hosts("runs", "stands still"))
    assert "'virsh resume'" in said(hosts("absent", "stands still"))
    assert "no copy is left" in said(hosts("absent", "absent"))


def test_two_that_run_may_be_one_host_under_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who then stops one of them stops the only one."""
    monkeypatch.setattr("whimbrel.migrate.verify.PATIENCE_S", 0.0)
    hosts = [FakeHost("a"), FakeHost("b")]
    for host in hosts:
        host.guests[GUEST.uuid] = "runs"
    with pytest.raises(UnsafeStateError, match="runs on a and b") as caught:
        verify.exactly_one(GUEST, hosts)
    assert caught.value.resolution.startswith("stop none of them before you know that they are two")
