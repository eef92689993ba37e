"""In what do two arms differ? A comparison means something when that is one thing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from whimbrel.records.trial import TrialRecord
from whimbrel.services.client import CLIENTS

# Names, texts and plans of the analysis do nothing to a trial; what an arm sets itself is in the rest of the file by then.
_NO_CONDITION = ("schema_version", "name", "title", "reference", "seed", "scenarios", "evidence", "thresholds")
# What comes with another: servers of another suite have other programs, and a move is encrypted only where certificates are.
_COMES_WITH = {"lab.suite": ("version of libvirt", "version of qemu"), "lab.tls": ("migration.tls",)}
_OF_THE_MACHINE = ("machine_cpu", "machine_kernel", "machine_cpus", "machine_memory_bytes", "accelerator")


def conditions(record: TrialRecord) -> dict[str, str]:
    """Under what a trial was made: every key of its file that matters, its arm's own settings, machine, and programs."""
    spec = {key: value for key, value in record.spec.model_dump(mode="json").items() if key not in _NO_CONDITION}
    found = dict(_flat(spec))
    # A lab by another name is the same lab.
    found.pop("lab.name", None)
    plan, where = record.plan, record.provenance
    scenario, _ = record.spec.find_arm(plan.arm)
    found |= {
        "form": plan.form,
        "service": scenario.service,
        "engine": plan.engine,
        **{key: str(client.number_in(plan)) for key, client in CLIENTS.items()},
        "moves": str(plan.moves),
        "machine": ", ".join(f"{getattr(where, name)}" for name in _OF_THE_MACHINE),
        "whimbrel": f"{where.whimbrel}, commit {where.commit or 'unknown'}",
    }
    return found | {f"version of {program}": version for program, version in where.versions.items() if version is not None}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The conditions that differ, with both values. A program that has no part in one of them is no condition of both."""
    found = {}
    for key in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(key, "none"), other.get(key, "none")
        has_no_part = key.startswith("version of ") and (key not in one or key not in other)
        if ours != theirs and not has_no_part:
            found[key] = (ours, theirs)
    return found


def things(differing: Iterable[str]) -> set[str]:
    """In how many things conditions differ, by name: what only comes with another is no thing of its own."""
    found = set(differing)
    return found - {each for cause, follows in _COMES_WITH.items() if cause in found for each in follows}


def _flat(content: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(content, dict):
        return [(prefix, str(content))]
    return [pair for key, value in content.items() for pair in _flat(value, f"{prefix}.{key}" if prefix else key)]
