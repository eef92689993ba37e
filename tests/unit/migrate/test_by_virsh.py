"""What an operator would type, from what a scenario asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from tests.fakes import GUEST, FakeDomain, FakeHost, FakeJournal
from whimbrel.engines.hypervisor import Progress
from whimbrel.engines.libvirt import Connection
from whimbrel.migrate import by_virsh
from whimbrel.migrate.by_virsh import ByVirsh, virsh_words
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.techniques import technique_of
from whimbrel.spec.migration import MigrationSpec


def words(**options: object) -> str:
    spec = MigrationSpec.model_validate({"by": "virsh", **options})
    return " ".join(virsh_words(MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**30, 2**30, spec)))


def test_the_plain_command() -> None:
    assert words() == ("virsh migrate --p2p --abort-on-error --live guest qemu+tcp://b/system --migrateuri tcp://192.0.2.1")


def test_options_have_their_words() -> None:
    assert "--live" not in words(technique="paused")
    assert "--postcopy --postcopy-after-precopy" in words(technique="pre-post-copy")
    assert "--bandwidth 20" in words(bandwidth="20 MiB/s")
    assert "--parallel --parallel-connections 4" in words(connections=4)
    assert "--compressed --comp-methods zstd" in words(connections=2, compression="zstd")
    assert "--auto-converge" in words(auto_converge=True)
    assert "--tls" in words(tls=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"technique": "cold"}, "cannot do cold"),
        ({"technique": "post-copy"}, "cannot do post-copy"),
        ({"technique": "pre-post-copy", "pre_copy_for": "1 s"}, "no counterpart"),
        ({"max_downtime": "100 ms"}, "no counterpart"),
        ({"storage": "full"}, "no counterpart"),
        ({"moves": "container", "technique": "checkpoint"}, "virsh moves VMs"),
    ],
)
def test_what_it_has_no_word_for_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MigrationSpec.model_validate({"by": "virsh", **options})


def test_it_takes_our_place_only_when_asked_to() -> None:
    assert type(technique_of(MigrationSpec.model_validate({"by": "virsh"}))).__name__ == "ByVirsh"
    assert type(technique_of(MigrationSpec())).__name__ == "LiveMove"


class Virsh:
    """A virsh that ends after so many looks; Ctrl-C comes with the first, when ``begun`` has been told."""

    def __init__(self, looks: int, begun: Callable[[], None]) -> None:
        self.looks = looks
        self.begun = begun
        self.interrupted = False
        self.stopped_after: int | None = None

    def wait(self, timeout_s: float) -> int | None:
        if not self.interrupted:
            self.interrupted = True
            self.begun()
            raise KeyboardInterrupt
        self.looks -= 1
        return 0 if self.looks < 0 else None

    def stop(self, ask: bool) -> int:
        self.stopped_after = self.looks
        return 0


@pytest.mark.parametrize(("trouble", "left"), [("follows", -1), (None, 4), ("silent", -1)])
def test_after_ctrl_c_only_what_can_be_aborted_is_left_after_a_while(
    trouble: str | None, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can say of is not known to be abortable."""
    guest = FakeDomain(job=Progress(transferred_bytes=5))
    virsh = Virsh(5, begun=lambda: None if trouble is None else setattr(guest, trouble, True))
    monkeypatch.setattr(by_virsh, "start", lambda *_, **__: virsh)
    monkeypatch.setattr(by_virsh, "ABORT_PATIENCE_S", 0.0)
    connection = nullcontext(SimpleNamespace(find=lambda uuid: guest))
    monkeypatch.setattr(Connection, "open", lambda uri: connection)
    spec = MigrationSpec.model_validate({"by": "virsh", "technique": "pre-post-copy"})
    with pytest.raises(KeyboardInterrupt):
        ByVirsh("pre-post-copy").move(MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 2**30, 2**30, spec), FakeJournal())
    assert virsh.stopped_after == left
    assert (guest.aborts > 0) == (trouble is None)
