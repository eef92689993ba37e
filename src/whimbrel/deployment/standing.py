"""What is deployed, as it stands on its hosts: where copies may be, where it runs, and what is asked for when it is to move."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from whimbrel.deployment.bringing_up import AnySite, guest_of, vms_of
from whimbrel.deployment.deployed import Deployment
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import (
    UsageError,
)
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import Carrier, VmCarrier
from whimbrel.guests.forms import start_again
from whimbrel.hosts.host import Place
from whimbrel.hosts.inside import NothingInside
from whimbrel.migrate.journal import read_history
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.verify import exactly_one
from whimbrel.services.registry import SERVICES
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec


def places_of(deployment: Deployment, site: AnySite, holding: ExitStack) -> Mapping[HostName, Place]:
    """Where a copy of it may be, by host; carriers are reached for as long as ``holding`` is open."""
    if not deployment.moves_container:
        return site.hosts
    found: dict[HostName, Place] = {}
    vms = vms_of(deployment, site)
    for host in site.hosts.values():
        vm = vms[host.name]
        domain = None if host.gone else holding.enter_context(host.hypervisor()).find(vm.uuid)
        inside = NothingInside(f"the carrier on host {host.name}") if domain is None else GuestAgent(domain)
        found[host.name] = VmCarrier(host, inside, vm.address, vm)
    return found


def request_for(
    deployment: Deployment,
    site: AnySite,
    migration: MigrationSpec,
    way: tuple[HostName, HostName],
    places: Mapping[HostName, Place],
) -> MoveRequest:
    """What is asked of the technique; ``way`` is from where to where."""
    carriers = [place for name in way if isinstance(place := places[name], Carrier)]
    here, there = site.hosts[way[0]], site.hosts[way[1]]
    lies_shared = deployment.spec.migration.storage == "shared"
    if lies_shared != (migration.storage == "shared"):
        raise UsageError(
            f"the disk of {deployment.name} lies where {'both hosts see it' if lies_shared else 'only its host sees it'}",
            resolution="deploy it with the 'migration.storage' that it is to be moved with",
        )

    def start_service_again(agent: GuestAgent) -> None:
        spec, scenario = deployment.spec, deployment.spec.scenarios[0]
        form = deployment.arm.form or scenario.form
        start_again(agent, form, SERVICES[scenario.service], spec.guest.dirtier, spec.observe.witness)

    return MoveRequest(
        guest=guest_of(deployment, site),
        source=here,
        destination=there,
        memory_bytes=deployment.spec.guest.memory_bytes,
        disk_bytes=deployment.spec.guest.disk_bytes,
        spec=migration,
        carriers=(carriers[0], carriers[1]) if carriers else None,
        disks=None if lies_shared else the_guest.own_disks(site, guest_of(deployment, site), here, there),
        after_boot=start_service_again,
        told_to_abort=deployment.abort_file.exists,
    )


def refuse_while_moved(deployment: Deployment) -> None:
    """UsageError while somebody else moves it."""
    history = read_history(deployment.journal_file)
    if history is not None and history.driven:
        raise UsageError(
            f"{deployment.name} is being moved by process {history.intent.pid}",
            resolution=f"wait for it, or 'whimbrel abort {deployment.name}'",
        )


def where_it_runs(deployment: Deployment, site: AnySite, places: Mapping[HostName, Place]) -> HostName:
    """The host on which its one copy runs; UsageError when a move was interrupted, UnsafeStateError when nobody can say."""
    history = read_history(deployment.journal_file)
    if history is not None and history.ended is None:
        raise UsageError(
            f"a move of {deployment.name} was interrupted (last step: {history.last})",
            resolution=f"'whimbrel recover {deployment.name}'",
        )
    return exactly_one(guest_of(deployment, site), list(places.values()))


def refuse_destination(deployment: Deployment, site: AnySite, source: HostName, to: HostName) -> None:
    """UsageError when it cannot be moved there, as there is no such host, or it is where it runs."""
    if to not in site.hosts:
        raise UsageError(f"there is no host {to!r}", resolution=f"those of {deployment.name}: {', '.join(site.hosts)}")
    if source == to:
        raise UsageError(f"{deployment.name} runs on host {to} already")
