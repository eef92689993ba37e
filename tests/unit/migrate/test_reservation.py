from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes import FakeHost
from whimbrel.errors import ReservationError
from whimbrel.migrate import reservation
from whimbrel.migrate.reservation import reserved
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES

GIB = 2**30


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    return tmp_path


def test_a_booking_holds_and_a_second_claimant_is_refused() -> None:
    host = FakeHost(memory_bytes=2 * GIB + QEMU_OVERHEAD_BYTES)
    with reserved(host, "one", 1 * GIB, GIB) as booking:
        assert booking.memory_bytes == GIB + QEMU_OVERHEAD_BYTES
        with pytest.raises(ReservationError, match="cannot set aside") as caught, reserved(host, "two", GIB, GIB):
            pass
        assert "one" in str(caught.value)
    with reserved(host, "two", GIB, GIB):
        pass


def test_disk_is_booked_too() -> None:
    host = FakeHost(disk_bytes=3 * GIB)
    with (
        reserved(host, "one", GIB, 2 * GIB),
        pytest.raises(ReservationError, match="of disk") as caught,
        reserved(host, "two", GIB, 2 * GIB),
    ):
        pass
    assert f"one (process {os.getpid()}): 2 GiB" in str(caught.value)


def test_hosts_do_not_share_bookings() -> None:
    a, b = FakeHost("a", memory_bytes=2 * GIB), FakeHost("b", memory_bytes=2 * GIB)
    with reserved(a, "one", GIB, GIB) as first, reserved(b, "one", GIB, GIB) as second:
        assert first == second


def test_a_dead_claimants_booking_does_not_count(home: Path) -> None:
    host = FakeHost(memory_bytes=2 * GIB)
    with reserved(host, "one", GIB, GIB):
        file = next((home / "bookings").glob("*.json"))
        dead = json.loads(file.read_text())
    dead[0]["start_ticks"] = 1
    file.write_text(json.dumps(dead))
    with reserved(host, "two", GIB, GIB):
        pass
    assert not file.exists()


@pytest.mark.parametrize("content", ["", '[{"guest": "on', "nonsense", "{}", "[7]", '[{"guest": "one"}]', "\udcff"])
def test_damaged_bookings_are_put_aside_and_the_move_goes_on(home: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost(memory_bytes=2 * GIB)
    with reserved(host, "one", GIB, GIB):
        file = next((home / "bookings").glob("*.json"))
    file.write_text(content, errors="surrogateescape")
    with reserved(host, "two", GIB, GIB):
        assert [each["guest"] for each in json.loads(file.read_text())] == ["two"]
    assert file.with_name(f"{file.name}.damaged").read_text(errors="surrogateescape") == content
    assert str(file) in caplog.text


def test_a_booking_that_cannot_be_given_back_does_not_undo_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    host = FakeHost(memory_bytes=8 * GIB)
    with reserved(host, "one", GIB, GIB), reserved(host, "two", GIB, GIB):
        monkeypatch.setattr(reservation, "replace_text", full)
    with pytest.raises(OSError, match="No space left"), reserved(host, "three", GIB, GIB):
        pass


def test_a_booking_that_has_gone_meanwhile_is_no_error(home: Path) -> None:
    host = FakeHost(memory_bytes=8 * GIB)
    with reserved(host, "one", 7 * GIB, GIB):
        next((home / "bookings").glob("*.json")).unlink()
    # Nor is it booked still.
    assert list((home / "bookings").glob("*.json")) == []
    with reserved(host, "two", 7 * GIB, GIB) as booking:
        assert booking.guest == "two"
