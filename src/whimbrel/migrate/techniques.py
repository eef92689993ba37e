"""Every technique, what it promises to keep, and which forms it can move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whimbrel.lab.criu_check import CELL, DUMP, LAZY_PAGES, TRACKING
from whimbrel.migrate.by_virsh import ByVirsh
from whimbrel.migrate.cold import Cold
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import Technique
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec, Promise, TechniqueName
from whimbrel.spec.service import FormName
from whimbrel.system.capabilities import Finding

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
# What each needs of the servers' own kernel when there is no VM around the container; in a carrier, its own kernel has it all.
_NEEDS: dict[str, tuple[str, ...]] = {
    "checkpoint": (CELL, DUMP),
    "pre-copy": (CELL, DUMP, TRACKING),
    "post-copy": (CELL, DUMP, LAZY_PAGES),
    "restart": (CELL,),
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


def possibilities(findings: Sequence[Finding]) -> list[Possibility]:
    """Every form with every technique, those of the VM first; ``findings`` are those of ``lab.criu_check``."""
    no_vm = dict.fromkeys(TECHNIQUES, "there is no VM around it")
    no_container = dict.fromkeys(CONTAINER_TECHNIQUES, "there is no container in it")
    lacking = {name: lacks(name, findings) for name in CONTAINER_TECHNIQUES}
    return [
        *_pairs("vm", {}, no_container),
        *_pairs("nested", {}, {}),
        *_pairs("container", no_vm, {name: reason for name, reason in lacking.items() if reason is not None}),
    ]


def _pairs(
    form: FormName, of_the_vm: Mapping[TechniqueName, str], of_the_container: Mapping[ContainerTechniqueName, str]
) -> list[Possibility]:
    """A form's, given why some cannot be done."""
    found = [Possibility(form, name, "vm", name not in of_the_vm, of_the_vm.get(name)) for name in TECHNIQUES]
    return found + [
        Possibility(form, name, "container", name not in of_the_container, of_the_container.get(name))
        for name in CONTAINER_TECHNIQUES
    ]


def lacks(name: str, findings: Sequence[Finding]) -> str | None:
    """What this machine lacks to move a container between its servers by a technique, and why; None when nothing."""
    seen = {finding.name: finding for finding in findings}
    missing = [seen[need] for need in _NEEDS[name] if not seen[need].works]
    return "; ".join(f"no {finding.name}: {finding.seen}" for finding in missing) or None
