"""A cloud image of the user's own: what is made of it, and what its cloud-init is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from whimbrel.errors import CapabilityError, UsageError
from whimbrel.images import build
from whimbrel.images.recipes import SeedRecipe, cloud_disk, recipe_id, seed
from whimbrel.services.service import CloudDisk
from whimbrel.system import process

USER_DATA = "#cloud-config\nruncmd: [[systemctl, start, shop]]\n"


def disk(folder: Path, content: bytes) -> CloudDisk:
    file = folder / "debian.img"
    file.write_bytes(content)
    return CloudDisk(file, "d1", USER_DATA)


def test_its_format_is_what_it_begins_with_whatever_its_name_says(tmp_path: Path) -> None:
    assert cloud_disk(disk(tmp_path, b"QFI\xfb\0\0\0\x03" + bytes(100))).format == "qcow2"
    assert cloud_disk(disk(tmp_path, b"\xeb\x63\x90" + bytes(100))).format == "raw"


def test_one_that_lies_over_another_is_refused(tmp_path: Path) -> None:
    over = b"QFI\xfb\0\0\0\x03" + (512).to_bytes(8, "big") + bytes(100)
    with pytest.raises(UsageError, match="lies over another image"):
        cloud_disk(disk(tmp_path, over))


def test_cloud_init_is_told_its_address_and_what_the_user_says(tmp_path: Path) -> None:
    found = seed(disk(tmp_path, b""), "52:54:00:77:00:64", "10.77.0.100/24")
    [(name, link)] = json.loads(found.files["network-config"])["ethernets"].items()
    assert (name, link["set-name"]) == ("eth0", "eth0")
    assert (link["match"], link["addresses"]) == ({"macaddress": "52:54:00:77:00:64"}, ["10.77.0.100/24"])
    assert found.files["user-data"] == USER_DATA
    # A script of ours comes last, and takes nothing away from what the user says.
    assert found.files["vendor-data"].startswith("#!/bin/sh\n")
    other = seed(replace(disk(tmp_path, b""), user_data="#cloud-config\n{}\n"), "52:54:00:77:00:64", "10.77.0.100/24")
    assert recipe_id(other) != recipe_id(found)


@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_the_disk_has_the_label_and_the_files_that_cloud_init_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    for file in ("usr/sbin/qemu-ga", "lib/libone.so.1"):
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_text(file)
    out.mkdir()
    real = process.run

    def run(command: list[str | Path], **options: object) -> object:
        """Who is not root may change no root."""
        if command[0] == "chroot":
            return type("Done", (), {"stdout": "\tlibone.so.1 => /lib/libone.so.1 (0x7f)\n"})
        return real(command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "run", run)
    build.seed(SeedRecipe("guest-1", {"user-data": USER_DATA, "meta-data": "{}"}, {}), tree, out)
    assert [file.name for file in out.iterdir()] == ["disk.raw"]
    content = (out / "disk.raw").read_bytes()
    # ISO 9660 (ECMA-119), 8.4: the volume's identifier in the first volume descriptor.
    assert content[0x8000:0x8006] == b"\x01CD001"
    assert content[0x8028:0x8048].strip() == b"cidata"
    listed = subprocess.run(["isoinfo", "-R", "-f", "-i", out / "disk.raw"], capture_output=True, text=True, check=True).stdout
    assert {"/user-data", "/meta-data", "/whimbrel/qemu-ga", "/whimbrel/libone.so.1"} <= set(listed.split())


def test_without_what_makes_it_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CapabilityError, match="apt-get install genisoimage"):
        build.seed(SeedRecipe("guest-1", {}, {}), tmp_path, tmp_path)
