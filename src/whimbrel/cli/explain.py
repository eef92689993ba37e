"""``explain``: more about each kind of error, each exit code, and each known failure of moves."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Annotated

import typer

from whimbrel.engines.failures import known
from whimbrel.errors import UsageError


def _topics() -> dict[str, str]:
    return tomllib.loads((files("whimbrel.cli") / "explanations.toml").read_text())


def explain(
    code: Annotated[
        str | None, typer.Argument(help="A kind of error, such as unsafe, an exit code, or a record's known_failure.")
    ] = None,
) -> None:
    """Says what a kind of error, an exit code or a known failure of moves means, what state it leaves, and what to do."""
    topics = _topics()
    if code is None:
        for name, text in topics.items():
            print(f"{name:12s}{' '.join(text.split()).split('. ')[0].rstrip('.')}.")
    elif code in topics:
        print(topics[code].strip())
    elif (failure := known(code)) is not None:
        print(f"A known failure of moves: {failure.cause}.\nWhat to do ({failure.side}): {failure.cure}.")
    else:
        raise UsageError(f"there is no error {code!r}", resolution=f"those there are: {', '.join(topics)}")
