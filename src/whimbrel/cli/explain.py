"""``explain``: more about each kind of error, and each exit code."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Annotated

import typer

from whimbrel.errors import UsageError


def _topics() -> dict[str, str]:
    return tomllib.loads((files("whimbrel.cli") / "explanations.toml").read_text())


def explain(
    code: Annotated[str | None, typer.Argument(help="A kind of error, such as unsafe, or an exit code, such as 4.")] = None,
) -> None:
    """Says what a kind of error or an exit code means, what state it leaves, and what to do."""
    topics = _topics()
    if code is None:
        for name, text in topics.items():
            print(f"{name:12s}{' '.join(text.split()).split('. ')[0].rstrip('.')}.")
    elif code in topics:
        print(topics[code].strip())
    else:
        raise UsageError(f"there is no error {code!r}", resolution=f"those there are: {', '.join(topics)}")
