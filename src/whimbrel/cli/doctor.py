"""``doctor``: what this machine can do, and why not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.errors import CapabilityError
from whimbrel.hosts.remote import examine_hosts
from whimbrel.images.store import ImageStore
from whimbrel.lab.cpu_split import describe, split
from whimbrel.lab.criu_check import what_is_known
from whimbrel.spec.load import load_campaign
from whimbrel.system.capabilities import Finding, examine
from whimbrel.system.cgroups import machine_cpus
from whimbrel.system.topology import cores_of, write_list

_MISSING = CapabilityError.exit_code


def doctor(
    file: Annotated[Path | None, typer.Argument(help="A scenario file that names hosts: they are tried instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Tries everything that a lab needs on this machine, or that a file's hosts must do; exit code 3 when it is missing."""
    findings = _findings(file)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "ok" if finding.works else "MISSING" if finding.needed else "no"
            print(f"{mark:8s}{finding.name}: {finding.seen}")
    return _MISSING if any(finding.needed and not finding.works for finding in findings) else 0


def _findings(file: Path | None) -> list[Finding]:
    hosts = load_campaign(file).hosts if file is not None else None
    return [*examine(), _processors(), *what_is_known(ImageStore())] if hosts is None else examine_hosts(hosts)


def _processors() -> Finding:
    """Whether two servers can have processors of their own, and like ones."""
    cores = cores_of(machine_cpus())
    halves = split(cores)
    said = f"A gets {write_list(halves.a)}, B gets {write_list(halves.b)}; {describe(halves, cores)}"
    return Finding("processors for two servers", halves.apart(cores), False, said)
