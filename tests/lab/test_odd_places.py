"""A lab is made wherever whimbrel's things lie: their path may have what means something in URIs and in options of mount(8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.labs import lab_that_is_up
from whimbrel.engines.libvirt import Connection
from whimbrel.images.store import ImageStore
from whimbrel.spec.lab import LabSpec
from whimbrel.system.capabilities import examine


@pytest.fixture
def odd_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    images = ImageStore().folder
    home = tmp_path / "50%: a, b & c\\d"
    home.mkdir()
    (home / "images").symlink_to(images)
    monkeypatch.setenv("WHIMBREL_HOME", str(home))
    return home


def test_servers_come_up_and_answer(odd_home: Path) -> None:
    with lab_that_is_up(LabSpec(name="odd")) as lab:
        for server in (lab.hosts["a"], lab.hosts["b"]):
            assert str(server.config.folder).startswith(str(odd_home))
            with Connection.open(server.libvirt_uri) as connection:
                assert connection.host_identity()[1] == f"server-{server.name}"
            # What it writes goes into its own folder, over the tree.
            server.run(["sh", "-c", "echo here >/etc/odd"])
            assert (server.config.folder / "upper" / "etc" / "odd").read_text() == "here\n"
        assert not (lab.hosts["a"].config.tree / "etc" / "odd").exists()


def test_the_machine_is_examined(odd_home: Path) -> None:
    found = {finding.name: finding for finding in examine()}
    assert found["overlay file system"].works, found["overlay file system"].seen
