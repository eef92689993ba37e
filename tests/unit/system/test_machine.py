"""What a machine lacks is said for what it is, and root is the same however one became root."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from whimbrel.records import caller
from whimbrel.system import capabilities, root

GIB = 2**30


@pytest.fixture
def own_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("own_umask")
def test_what_root_makes_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(caller, "callers_umask", None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    root.settle_in()
    (tmp_path / "film").write_text("x")
    assert (tmp_path / "film").stat().st_mode & 0o777 == 0o644
    assert caller.callers_umask == 0o077
    assert os.environ["PATH"] == "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@pytest.mark.usefixtures("own_umask")
def test_who_is_not_root_keeps_umask_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/usr/bin")
    root.settle_in()
    (tmp_path / "mine").write_text("x")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600
    assert os.environ["PATH"] == "/usr/bin"


@pytest.mark.parametrize(
    ("free_bytes", "images", "works"), [(3, True, True), (3, False, False), (1, True, False), (9, False, True)]
)
def test_room_for_images_is_wanted_only_while_they_are_missing(
    free_bytes: int, images: bool, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    for kind in ("server", "guest", "disk", "film") if images else ():
        (tmp_path / "images" / f"{kind}-0123456789ab").mkdir(parents=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes * GIB))
    assert capabilities.attempt("disk space", True, capabilities.room_for_images).works is works


def test_another_processor_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = capabilities.attempt("processor", True, capabilities.processor)
    assert not found.works
    assert found.seen.startswith("aarch64: a lab's images and machines are made for x86_64 (amd64) only")
