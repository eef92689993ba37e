"""What a file or a host says is shown as it is."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from rich.console import Console

from tests.campaigns import RECORDED
from whimbrel.cli import terminal
from whimbrel.cli.terminal import Steps, complain
from whimbrel.records.store import CampaignFolder
from whimbrel.system.deadline import Deadline, pause


def test_words_of_others_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    Steps(1, 1.0).note("failed: [/etc] [red]x")
    assert "failed: [/etc] [red]x" in capsys.readouterr().err


# Sets the title of a window, clears the screen, goes up a line; and shows what follows from right to left.
ACTS = "\x1b]0;mine\x07\x1b[2J\x1b[A \x9b2J \u202egnp.exe"
SHOWN = r"\x1b]0;mine\x07\x1b[2J\x1b[A \x9b2J \u202egnp.exe"


@pytest.mark.parametrize("live", [False, True])
def test_words_of_others_do_nothing_to_a_terminal(
    live: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", live)
    monkeypatch.setattr(Console, "width", 200)
    complain(f"the guest said {ACTS}\nand\tmore")
    Steps(1, 1.0).note(f"the host said {ACTS}")
    said = capsys.readouterr().err
    assert f"whimbrel: the guest said {SHOWN}\nand\tmore\n" in said
    assert f"the host said {SHOWN}" in said
    assert not set(ACTS) & set(said) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_quick_work_is_not_talked_about(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.waiting(lambda: "long"):
        pass
    assert capsys.readouterr().err == ""


def test_long_reading_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.01)
    monkeypatch.setattr(terminal, "AGAIN_S", 0.01)
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    said = ""

    def wait_for(words: str) -> None:
        nonlocal said
        deadline = Deadline(30)
        while words not in said:
            assert not deadline.passed, said
            pause(0.01)
            said += capsys.readouterr().err

    with terminal.reading(campaign) as told:
        told(2)
        wait_for(f"whimbrel: 2 of 3 trials of {campaign.folder} are read\n")
        told(3)
        wait_for("whimbrel: working out what the trials show\n")
    assert not [thread for thread in threading.enumerate() if thread.name == "waiting"]
