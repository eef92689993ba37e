"""docs/commands.md lists each command that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from whimbrel.cli.app import app

DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"


def listed() -> set[str]:
    """The commands that the document names, those of a group (``lab up|down``) each by itself."""
    found = set()
    for code in re.findall(r"`whimbrel ([^`]+)`", DOCUMENT.read_text()):
        words = code.replace("\\|", "|").split()
        is_group = len(words) > 1 and ("|" in words[1] or " ".join(words[:2]) in there())
        found |= {f"{words[0]} {sub}" for sub in words[1].split("|")} if is_group else {words[0]}
    return found


def there() -> set[str]:
    found: set[str] = set()
    for name, command in typer.main.get_group(app).commands.items():
        within = getattr(command, "commands", None)
        found |= {f"{name} {sub}" for sub in within or ()}
        # Some groups do something by themselves.
        found |= {name} if not within or getattr(command, "invoke_without_command", False) else set()
    return found


def test_every_command_is_listed_and_no_other() -> None:
    assert listed() == there()
