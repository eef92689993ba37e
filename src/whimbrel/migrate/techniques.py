"""Every technique, what it promises to keep, and which forms it can move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from whimbrel.migrate.cold import Cold
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import Technique
from whimbrel.spec.migration import TechniqueName
from whimbrel.spec.service import FormName

TECHNIQUES: dict[TechniqueName, Technique] = {
    "cold": Cold(),
    "paused": LiveMove("paused"),
    "pre-copy": LiveMove("pre-copy"),
    "post-copy": LiveMove("post-copy"),
    "pre-post-copy": LiveMove("pre-post-copy"),
}
# Techniques after which the guest is the same running system: its memory, its processes, its connections.
KEEPS_MEMORY: frozenset[TechniqueName] = frozenset({"paused", "pre-copy", "post-copy", "pre-post-copy"})


@dataclass(frozen=True)
class Possibility:
    """Whether a form can be moved by a technique, and why not."""

    form: str
    technique: str
    moves: str
    possible: bool
    reason: str | None


def possibilities() -> list[Possibility]:
    """Every pair of form and technique."""
    return [
        Possibility(form, name, technique.moves, True, None)
        for form in get_args(FormName)
        for name, technique in TECHNIQUES.items()
    ]
