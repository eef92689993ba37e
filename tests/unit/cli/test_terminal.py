"""What a file or a host says is shown as it is."""

from __future__ import annotations

import pytest
from rich.console import Console

from whimbrel.cli.terminal import Steps


def test_words_of_others_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    Steps(1, 1.0).note("failed: [/etc] [red]x")
    assert "failed: [/etc] [red]x" in capsys.readouterr().err
