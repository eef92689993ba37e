"""A finding as a value, and what is said of each kind of it (``findings.toml``, ``guest_findings.toml``). Pure."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

Severity = Literal["blocks", "warns", "unseen"]
# A host, two of them (``a and b``), or the way from one to the other (``a to b``).
Side: TypeAlias = str


@dataclass(frozen=True)
class Finding:
    """Something that stands against a move: what was ``seen`` on which side, its ``effect`` and its ``cure``.

    ``code`` never changes its meaning. ``blocks``: a move will fail. ``warns``: it may fail, or something else goes wrong.
    ``unseen``: nobody could look, so it is not known to be well.
    """

    code: str
    severity: Severity
    side: Side
    seen: str
    effect: str
    cure: str


@dataclass(frozen=True)
class Kind:
    """What all findings of one code have in common; ``effect`` and ``cure`` have places for words, as ``{side}``.

    ``never_forced``: what blocks must not be gone past, as two copies could run, or data be lost.
    """

    severity: Severity
    what: str
    effect: str
    cure: str
    never_forced: bool = False


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its code."""
    folder = files("whimbrel.hosts.preflight")
    read = [tomllib.loads((folder / name).read_text()) for name in ("findings.toml", "guest_findings.toml")]
    return {code: Kind(**said) for found in read for code, said in found.items()}


def finding(code: str, side: Side, seen: str, severity: Severity | None = None, **words: Any) -> Finding:
    """A finding of this kind; ``words`` are what its effect and cure name, beside ``side``."""
    kind = kinds()[code]
    said = {"side": side, **words}
    return Finding(code, severity or kind.severity, side, seen, kind.effect.format(**said), kind.cure.format(**said))


def possible(findings: list[Finding]) -> bool | None:
    """Whether a move can succeed, as far as anybody can see: None when something that could stop it was not seen."""
    severities = {each.severity for each in findings}
    return False if "blocks" in severities else None if "unseen" in severities else True
