"""Every technique, what it promises to keep, and which forms it can move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from whimbrel.migrate.by_virsh import ByVirsh
from whimbrel.migrate.cold import Cold
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import Technique
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec, Promise, TechniqueName
from whimbrel.spec.service import FormName

TECHNIQUES: dict[TechniqueName, Technique] = {
    "cold": Cold(),
    "paused": LiveMove("paused"),
    "pre-copy": LiveMove("pre-copy"),
    "post-copy": LiveMove("post-copy"),
    "pre-post-copy": LiveMove("pre-post-copy"),
}
CONTAINER_TECHNIQUES: dict[ContainerTechniqueName, Technique] = {
    "checkpoint": ContainerMove("checkpoint"),
    "pre-copy": ContainerMove("pre-copy"),
    "post-copy": ContainerMove("post-copy"),
    "restart": ContainerMove("restart"),
}
# The same by the plain tool, for comparison ('migration.by').
BY_VIRSH: dict[TechniqueName, Technique] = {
    "paused": ByVirsh("paused"),
    "pre-copy": ByVirsh("pre-copy"),
    "pre-post-copy": ByVirsh("pre-post-copy"),
}
EVERYTHING: frozenset[Promise] = frozenset({"memory", "counter", "file", "connection"})
_FILE: frozenset[Promise] = frozenset({"file"})


def technique_of(spec: MigrationSpec) -> Technique:
    """The technique that a scenario asks for; a scenario that was checked names one that there is."""
    table = CONTAINER_TECHNIQUES if spec.moves == "container" else BY_VIRSH if spec.by == "virsh" else TECHNIQUES
    return next(technique for name, technique in table.items() if name == spec.technique)


def promises_of(spec: MigrationSpec) -> frozenset[Promise]:
    """What the technique promises to keep: docs/techniques.md has it as a table, and a witness is held to it."""
    return _FILE if spec.technique in ("cold", "restart") else EVERYTHING


@dataclass(frozen=True)
class Possibility:
    """Whether a form can be moved by a technique, and why not."""

    form: str
    technique: str
    moves: str
    possible: bool
    reason: str | None


def possibilities() -> list[Possibility]:
    """Every form with every technique, those of the VM first."""
    found = []
    for form in get_args(FormName):
        found += [Possibility(form, name, "vm", True, None) for name in TECHNIQUES]
        reason = None if form == "nested" else "there is no container in it"
        found += [Possibility(form, name, "container", reason is None, reason) for name in CONTAINER_TECHNIQUES]
    between = "containers move between carrier VMs: what runs on the servers themselves is not moved yet"
    return found + [Possibility("container", name, "container", False, between) for name in CONTAINER_TECHNIQUES]
