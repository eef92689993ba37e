from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from whimbrel.engines.libvirt import Connection
from whimbrel.hosts.site import DiskFacts
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.lab.own_disk import disk_facts
from whimbrel.lab.server import Server
from whimbrel.spec.lab import LabSpec
from whimbrel.system import memory


class NoGuests:
    def __enter__(self) -> NoGuests:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def running(self) -> list[object]:
        return []


@pytest.mark.parametrize(("available_gib", "free_gib"), [(20, 6), (2, 2)])
def test_a_server_can_give_no_more_memory_than_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, available_gib: int, free_gib: int
) -> None:
    (tmp_path / "meminfo").write_text(f"MemAvailable: {available_gib * 2**20} kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(Connection, "open", lambda _: NoGuests())
    place: Any = SimpleNamespace(
        name="b", address="192.0.2.3", cgroup="lab/b", memory_bytes=6 * 2**30, shared=tmp_path, folder=tmp_path
    )
    assert Server(place).capacity().memory_bytes == free_gib * 2**30


def test_what_qemu_img_says_of_a_disk() -> None:
    # QAPI's ImageInfo, as qemu-img prints it of an overlay.
    said = """{
        "children": [{"name": "file", "info": {"virtual-size": 197120, "format": "file", "actual-size": 200704}}],
        "backing-filename-format": "raw", "virtual-size": 3221225472, "filename": "/srv/own/guest.qcow2",
        "cluster-size": 65536, "format": "qcow2", "actual-size": 200704, "full-backing-filename": "/srv/images/disk.raw",
        "backing-filename": "/srv/images/disk.raw", "dirty-flag": false
    }"""
    assert disk_facts(said) == DiskFacts(3 * 2**30, 200704, "/srv/images/disk.raw", "raw")
    assert disk_facts('{"virtual-size": 512, "actual-size": 512}') == DiskFacts(512, 512, None, None)


def test_the_uri_of_a_server_names_its_socket_wherever_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a home, 50%: of & ours;#?"
    monkeypatch.setenv("WHIMBREL_HOME", str(home))
    (home / "images").mkdir(parents=True)
    monkeypatch.setattr(ImageStore, "server_tree", lambda self, suite: self.folder / "server-0" / "tree")
    lab = Lab(LabSpec(name="odd"), ImageStore(), ledger_of("odd"))
    socket = split_libvirt_query(lab.hosts["a"].libvirt_uri)["socket"]
    assert socket == [str(home / "labs" / "odd" / "a" / "run" / "libvirt-sock")]


def split_libvirt_query(uri: str) -> dict[str, list[str]]:
    # libvirt takes ';' for '&' as well (virURIParseParams).
    return parse_qs(uri.partition("?")[2].replace(";", "&"), strict_parsing=True)
