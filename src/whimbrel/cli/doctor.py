"""``doctor``, and ``hosts check`` of a scenario file: what this machine, or a file's hosts, can do, and why not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.cli.findings import print_findings
from whimbrel.cli.interrupts import Interrupts
from whimbrel.errors import CapabilityError
from whimbrel.hosts.preflight import finding as preflight
from whimbrel.hosts.preflight.examine import examine_all, nothing_examined
from whimbrel.hosts.preflight.guests import probe_ledger
from whimbrel.hosts.preflight.wanted import wanted_by
from whimbrel.hosts.remote import examine_hosts
from whimbrel.images.store import ImageStore
from whimbrel.lab.cpu_split import are_apart, describe, split
from whimbrel.lab.criu_check import what_is_known
from whimbrel.moves.needs import examine_clients
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.hosts import HostsSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.capabilities import Finding, examine
from whimbrel.system.cgroups import machine_cpus
from whimbrel.system.topology import cores_of, write_list

_MISSING = CapabilityError.exit_code


def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A scenario file that names hosts: 'whimbrel hosts check --scenario FILE' tries them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Tries everything that a lab needs on this machine; exit code 3 when it is missing."""
    if file is not None:
        return examine_file(file, as_json)
    return _told([*examine(), processors_of_two_servers(), *what_is_known(ImageStore()), *examine_clients(None)], None, as_json)


def examine_file(file: Path, as_json: bool) -> int:
    """Tries what a scenario file needs: this machine, or the hosts that it names."""
    campaign = load_campaign(file)
    if campaign.hosts is None:
        tried = [*examine(), processors_of_two_servers(), *what_is_known(ImageStore()), *examine_clients(campaign)]
        return _told(tried, None, as_json)
    tried = [*examine_hosts(campaign.hosts), *examine_clients(campaign)]
    return _told(tried, _against_a_move(campaign, campaign.hosts, tried), as_json)


def _told(tried: list[Finding], found: list[preflight.Finding] | None, as_json: bool) -> int:
    missing = any(each.needed and not each.works for each in tried)
    if as_json:
        print(json.dumps(_as_json(tried, found, missing), indent=1))
    else:
        _print(tried, found or [])
    return _MISSING if missing or (found is not None and preflight.possible(found) is False) else 0


def _against_a_move(campaign: CampaignSpec, hosts: HostsSpec, tried: list[Finding]) -> list[preflight.Finding]:
    """What stands against a move between them; of hosts that do not answer only that it was not seen."""
    silent = [each for each in tried if each.name.startswith("libvirt of") and not each.works]
    if silent:
        return nothing_examined(hosts, f"{silent[0].name} did not answer")
    ledger = probe_ledger(hosts)
    with Interrupts(ledger):
        return examine_all(hosts, wanted_by(campaign), ledger)


def processors_of_two_servers() -> Finding:
    """Whether two servers can have processors of their own, and like ones."""
    cores = cores_of(machine_cpus())
    halves = split(cores, ("a", "b"))
    gets = ", ".join(f"{name} gets {write_list(cpus)}" for name, cpus in halves.items())
    return Finding("processors for two servers", are_apart(halves, cores), False, f"{gets}; {describe(halves, cores)}")


def _as_json(tried: list[Finding], found: list[preflight.Finding] | None, missing: bool) -> object:
    if found is None:
        return [asdict(each) for each in tried]
    return {
        "possible": False if missing else preflight.possible(found),
        "findings": [asdict(each) for each in found],
        "tried": [asdict(each) for each in tried],
    }


def _print(tried: list[Finding], found: list[preflight.Finding]) -> None:
    for each in tried:
        mark = "ok" if each.works else "MISSING" if each.needed else "no"
        print(f"{mark:8s}{each.name}: {each.seen}")
    print_findings(found)
