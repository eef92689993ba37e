"""Whether guests run in KVM: what was not tried is not remembered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from whimbrel.lab import accelerator
from whimbrel.lab.accelerator import choose_accelerator
from whimbrel.lab.server import Server
from whimbrel.system import kvm_memo

# The console of a guest that came up in KVM, and of one that never did.
UP = "[    0.512345] Run /init as init process\n"
NEVER_UP = "SeaBIOS (version 1.16.2-debian-1.16.2-1)\nBooting from ROM..\n"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))


def server(console: str, boots: list[str]) -> Server:
    """One in which a guest says this on its console; counts what is booted."""

    def run(words: list[str], **_: object) -> SimpleNamespace:
        boots.append(words[0])
        return SimpleNamespace(stdout=console)

    return cast("Server", SimpleNamespace(config=SimpleNamespace(tree=Path("/images/server-1/tree")), run=run))


@pytest.mark.parametrize(("console", "expected"), [(UP, "kvm"), (NEVER_UP, "tcg")])
def test_it_is_asked_once_per_boot_of_the_machine(
    console: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "kvm"
    there.touch()
    monkeypatch.setattr(accelerator, "DEVICE", there)
    boots: list[str] = []
    assert [choose_accelerator(server(console, boots), Path("/images/guest-1")) for _ in range(2)] == [expected] * 2
    assert len(boots) == 1


def test_a_device_that_is_absent_once_is_tried_when_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "kvm"
    monkeypatch.setattr(accelerator, "DEVICE", there)
    boots: list[str] = []
    assert choose_accelerator(server(UP, boots), Path("/images/guest-1")) == "tcg"
    assert (boots, kvm_memo.recall()) == ([], None)
    there.touch()
    assert choose_accelerator(server(UP, boots), Path("/images/guest-1")) == "kvm"
    assert kvm_memo.recall() is True
