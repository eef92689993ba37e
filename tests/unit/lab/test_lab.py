from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from whimbrel.hosts.site import DiskFacts
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, default_cpus, ledger_of
from whimbrel.lab.own_disk import disk_facts
from whimbrel.spec.lab import LabSpec


@pytest.mark.parametrize(
    ("member", "machine", "expected"),
    [("a", [0, 1], (0,)), ("b", [0, 1], (1,)), ("vantage", [0, 1], (0, 1)), ("a", [3], (3,)), ("b", [0, 1, 2, 3, 4], (2, 3, 4))],
)
def test_servers_get_halves_and_the_vantage_everything(member: str, machine: list[int], expected: tuple[int, ...]) -> None:
    assert default_cpus(member, machine) == expected


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
    socket = split_libvirt_query(lab.server_a.libvirt_uri)["socket"]
    assert socket == [str(home / "labs" / "odd" / "a" / "run" / "libvirt-sock")]


def split_libvirt_query(uri: str) -> dict[str, list[str]]:
    # libvirt takes ';' for '&' as well (virURIParseParams).
    return parse_qs(uri.partition("?")[2].replace(";", "&"), strict_parsing=True)
