"""What a file or a host says is shown as it is."""

from __future__ import annotations

import pytest
from rich.console import Console

from whimbrel.cli.terminal import Steps, complain


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
