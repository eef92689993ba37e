"""What 'run --keep-on-failure' says is left, of guests that are there and of one that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import RECORDED
from tests.shared_hosts import SharedHosts
from whimbrel.api.running import left_of
from whimbrel.hosts.remote import RemoteSite, hosts_ledger, owner_of
from whimbrel.images.store import ImageStore
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import EndRecord


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SharedHosts:
    found = SharedHosts()
    found.install(monkeypatch)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    return found


@pytest.fixture
def site(hosts: SharedHosts) -> RemoteSite:
    spec = hosts.spec()
    return RemoteSite(spec, ImageStore(), hosts_ledger(spec.name), owner_of(spec))


def said(site: RemoteSite, end: EndRecord | None) -> str:
    campaign = CampaignFolder.open(RECORDED)
    stored = campaign.trials()[0]
    return left_of(site, StoredTrial(stored.folder, stored.record.model_copy(update={"end": end})))


def ended(left: str) -> EndRecord:
    return EndRecord(guest="guest", host="a", how="shut down", realtime_ns=1, seen_ns=1, during="at rest", left=left,
                     console=[], qemu_log=[])  # fmt: skip


def test_a_guest_that_runs_is_said_to_run(hosts: SharedHosts, site: RemoteSite) -> None:
    hosts.b.start(site.guest.name, site.guest.uuid)
    assert said(site, None) == f"{site.guest} is on host b, and runs"
    hosts.b.domains[site.guest.uuid].executing = False
    assert said(site, None) == f"{site.guest} is on host b, and stands still"


def test_a_guest_that_has_gone_is_not_said_to_be_there(site: RemoteSite) -> None:
    words = said(site, ended("its QEMU has gone, and its memory with it"))
    assert words.startswith(
        "no guest is left on it; it shut down, on host a: its QEMU has gone, and its memory with it. Its console"
    )
    assert words.endswith("/logs")


def test_one_that_panicked_and_was_kept_is_said_to_be_there(hosts: SharedHosts, site: RemoteSite) -> None:
    hosts.a.start(site.guest.name, site.guest.uuid)
    hosts.a.domains[site.guest.uuid].crashed = True
    assert said(site, ended("kept")).startswith(f"{site.guest} is on host a, as it crashed; it shut down, on host a: kept. ")


def test_hosts_that_do_not_answer_leave_it_unknown(hosts: SharedHosts, site: RemoteSite) -> None:
    hosts.a.away = True
    assert said(site, None) == "what is on it is unknown (libvirt could not connect to qemu+tls://one.example/system)"
