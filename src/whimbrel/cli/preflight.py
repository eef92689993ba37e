"""``preflight``: what stands against the move of a guest of the user's own, before anything moves."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from whimbrel.cli.findings import print_findings
from whimbrel.cli.own import Address, Peer
from whimbrel.errors import CapabilityError
from whimbrel.hosts.preflight.finding import Finding, possible
from whimbrel.own.preflight.examine import examine_move
from whimbrel.own.sides import sides_of
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with

_BLOCKED = CapabilityError.exit_code


def preflight(
    name: Annotated[str, typer.Argument(metavar="GUEST", help="The name or UUID of any libvirt guest.")],
    from_: Annotated[str, typer.Option("--from", metavar="URI|HOST", help="The libvirt where it runs, or a name of hosts.yaml.")],
    to: Annotated[str, typer.Option(metavar="URI|HOST", help="The libvirt that it is to move to.")],
    technique: Annotated[str | None, typer.Option(help="How it is to move ('whimbrel techniques'); default: pre-copy.")] = None,
    peer: Peer = None,
    address: Address = None,
    tries: Annotated[
        bool, typer.Option("--try", help="Try the way between the hosts, with a small guest of ours on each for a moment.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where there are warnings.")] = False,
) -> int:
    """Names all that would stop, break or spoil the move of a guest, before it begins. The guest, and all others, are left alone.

    Exit code 3 when something blocks the move, 1 when something warns and --strict is given, else 0.
    """
    source, destination = sides_of(from_, to, peer, address)
    found = examine_move(name, source, destination, migration_with(MigrationSpec(), technique, []), tries)
    if as_json:
        print(json.dumps({"possible": possible(found), "findings": [asdict(each) for each in found]}, indent=1))
    else:
        _tell(name, source.name, destination.name, found)
    severities = {each.severity for each in found}
    return _BLOCKED if "blocks" in severities else int(strict and "warns" in severities)


def _tell(name: str, source: str, destination: str, found: list[Finding]) -> None:
    said = {True: "can move", False: "cannot move", None: "can move, as far as anybody can see,"}[possible(found)]
    print(f"{name} {said} from host {source} to host {destination}")
    print_findings(found)
