"""A guest from a saved state: what starts it, apart from what makes each start alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import GUEST, FakeDisk, FakeDomain
from whimbrel.errors import GuestError
from whimbrel.guests.guest import lay_out, start_saved

SAVED = "<domain><devices><disk type='file' device='disk'><source file='/srv/shared/guest.qcow2'/></disk></devices></domain>"


class Host:
    """One that keeps account of what it is asked."""

    def __init__(self, comes: bool = True) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._comes = comes

    def saved_description(self, file: str) -> str:
        return SAVED

    def restore(self, file: str, xml: str | None = None) -> None:
        self.asked.append((file, xml))

    def find(self, uuid: str) -> FakeDomain | None:
        return FakeDomain() if self._comes else None


def test_the_mechanism_starts_a_guest_from_a_file_and_does_nothing_else() -> None:
    host: Any = Host()
    assert start_saved(host, GUEST, "/srv/images/memory.save").name == "guest"
    assert host.asked == [("/srv/images/memory.save", None)]


def test_a_guest_that_does_not_come_is_an_error() -> None:
    host: Any = Host(comes=False)
    with pytest.raises(GuestError, match="the restored guest is not there"):
        start_saved(host, GUEST, "/srv/images/memory.save", "<domain/>")


@pytest.mark.parametrize("own", [True, False])
def test_its_disk_is_put_where_its_description_then_says(tmp_path: Path, own: bool) -> None:
    (tmp_path / "disk.qcow2").write_bytes(b"disk")
    put: list[Path] = []
    files = SimpleNamespace(image=lambda file: f"/srv/images/{file.name}", put_disk=put.append, disk="/srv/shared/guest.qcow2")
    site: Any = SimpleNamespace(files=SimpleNamespace(of=lambda guest: files))
    host: Any = Host()
    disk = FakeDisk(None)
    saved, description = lay_out(site, host, GUEST, tmp_path, disk if own else None, keep_when_it_crashes=False)
    assert saved == "/srv/images/memory.save"
    assert put == ([] if own else [tmp_path / "disk.qcow2"])
    assert disk.there == own
    assert (description is not None and "/srv/own/guest.qcow2" in description) == own
