"""``explain``: errors, exit codes, known failures of moves, and findings of ``doctor`` and ``preflight``."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Annotated

import typer

from whimbrel.engines.failures import known
from whimbrel.errors import UsageError
from whimbrel.hosts.preflight.finding import Kind, kinds


def _topics() -> dict[str, str]:
    topics = tomllib.loads((files("whimbrel.cli") / "explanations.toml").read_text())
    return topics | {code: _finding(kind) for code, kind in kinds().items()}


def _finding(kind: Kind) -> str:
    """What is said of a kind of finding; SIDE and other words stand for what a finding names."""
    said = f"{kind.what}\nEffect ({kind.severity}): {kind.effect}.\nCure: {kind.cure}."
    return re.sub(r"\{(\w+)\}", lambda word: word[1].upper(), said)


def explain(
    code: Annotated[
        str | None,
        typer.Argument(help="A kind of error, such as unsafe, an exit code, a record's known_failure, or a finding of doctor."),
    ] = None,
) -> None:
    """Says what an error, an exit code, a known failure or a finding means, what state it leaves, and what to do."""
    topics = _topics()
    if code is None:
        for name, text in topics.items():
            print(f"{name:22s}{' '.join(text.split()).split('. ')[0].rstrip('.')}.")
    elif code in topics:
        print(topics[code].strip())
    elif (failure := known(code)) is not None:
        print(f"A known failure of moves: {failure.cause}.\nWhat to do ({failure.side}): {failure.cure}.")
    else:
        raise UsageError(f"there is no error {code!r}", resolution=f"those there are: {', '.join(topics)}")
