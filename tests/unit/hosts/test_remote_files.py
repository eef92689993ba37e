"""Files on hosts that others use too: names of our own, listed before they are made, and nothing of others replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.shared_hosts import SharedHosts
from whimbrel.errors import UsageError
from whimbrel.hosts.remote import hosts_ledger, owner_of
from whimbrel.hosts.remote_files import RemoteFiles, SharedStorage
from whimbrel.system.ledger import Ledger


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SharedHosts:
    found = SharedHosts()
    found.install(monkeypatch)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "first"))
    return found


def files(hosts: SharedHosts) -> tuple[RemoteFiles, Ledger]:
    spec = hosts.spec()
    owner, ledger = owner_of(spec), hosts_ledger(spec.name)
    ledger.acquire()
    return RemoteFiles(owner.identity("guest", "10.0.0.100"), SharedStorage(spec, ledger, owner.label), set()), ledger


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "disk-1" / "disk.raw"
    file.parent.mkdir()
    file.write_bytes(b"image")
    return file


def test_two_controllers_share_no_file(hosts: SharedHosts, image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, ledger = files(hosts)
    ours.put_disk(image)
    ours.image(image)
    kept = dict(hosts.folder)
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "second"))
    theirs, their_ledger = files(hosts)
    assert {ours.disk, ours.saving, ours.image(image)}.isdisjoint({theirs.disk, theirs.saving, theirs.image(image)})
    theirs.put_disk(image)
    their_ledger.undo_all()
    assert hosts.folder == kept
    ledger.undo_all()
    assert hosts.folder == {}


def test_what_is_there_and_not_listed_is_never_replaced(hosts: SharedHosts, image: Path) -> None:
    ours, ledger = files(hosts)
    name = Path(ours.disk).name
    hosts.folder[name] = b"not ours"
    said = f"/srv/shared/{name} is there already, and not in the ledger"
    with pytest.raises(UsageError, match=said):
        ours.put_disk(image)
    with pytest.raises(UsageError, match=said):
        ours.new_disk(image, "raw")
    assert hosts.folder[name] == b"not ours"
    ledger.undo_all()
    assert hosts.folder == {name: b"not ours"}


def test_the_disk_of_one_trial_is_replaced_by_that_of_the_next(hosts: SharedHosts, image: Path) -> None:
    ours, ledger = files(hosts)
    ours.put_disk(image)
    image.write_bytes(b"fresh")
    ours.put_disk(image)
    assert hosts.folder[Path(ours.disk).name] == b"fresh"
    assert len(ledger.entries) == 1


def test_a_saved_state_is_listed_before_libvirt_writes_it(hosts: SharedHosts, image: Path, tmp_path: Path) -> None:
    ours, ledger = files(hosts)
    ours.new_disk(image, "raw")
    assert Path(ours.saving).name in {json.loads(entry.name)["name"] for entry in ledger.entries}
    hosts.folder[Path(ours.saving).name] = b"memory"
    ours.take(tmp_path / "memory.save", tmp_path / "disk.qcow2")
    assert (tmp_path / "memory.save").read_bytes() == b"memory"
    assert (tmp_path / "disk.qcow2").read_bytes().startswith(b"raw 5 over /srv/shared/whimbrel-hosts-")
