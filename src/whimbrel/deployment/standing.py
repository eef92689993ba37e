"""What is deployed, as it stands on its hosts: where copies may be, where it runs, and what is asked for when it is to move."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from whimbrel.deployment.bringing_up import guest_of, vms_of
from whimbrel.deployment.deployed import Deployment, plan_of
from whimbrel.errors import UsageError
from whimbrel.hosts.host import Place
from whimbrel.hosts.site import Site
from whimbrel.migrate.journal import read_history
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.found import find_carriers, find_cells, subject_found
from whimbrel.moves.subject import Setting, Subject
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec


def places_of(deployment: Deployment, site: Site, holding: ExitStack) -> Mapping[HostName, Place]:
    """Where a copy of it may be, by host; carriers are reached for as long as ``holding`` is open."""
    if not deployment.moves_container:
        return site.hosts
    return find_cells(site) if deployment.form == "container" else find_carriers(site, vms_of(deployment, site), holding)


def subject_of(
    deployment: Deployment,
    site: Site,
    migration: MigrationSpec,
    way: tuple[HostName, HostName],
    places: Mapping[HostName, Place],
) -> Subject:
    """What is to move as ``migration`` says; ``way`` is from where to where. UsageError where its disk hinders that."""
    lies_shared = deployment.spec.migration.storage == "shared"
    if lies_shared != (migration.storage == "shared"):
        raise UsageError(
            f"the disk of {deployment.name} lies where {'both hosts see it' if lies_shared else 'only its host sees it'}",
            resolution="deploy it with the 'migration.storage' that it is to be moved with",
        )
    spec = deployment.with_migration(migration)
    return subject_found(Setting(site, spec, plan_of(spec, *way)), guest_of(deployment, site), places)


def where_it_runs(deployment: Deployment, site: Site, places: Mapping[HostName, Place]) -> HostName:
    """The host on which its one copy runs; UsageError when a move was interrupted, UnsafeStateError when nobody can say."""
    history = read_history(deployment.journal_file)
    if history is not None and history.ended is None:
        raise UsageError(
            f"a move of {deployment.name} was interrupted (last step: {history.last})",
            resolution=f"'whimbrel recover {deployment.name}'",
        )
    return exactly_one(guest_of(deployment, site), list(places.values()))


def refuse_destination(deployment: Deployment, site: Site, source: HostName, to: HostName) -> None:
    """UsageError when it cannot be moved there, as there is no such host, or it is where it runs."""
    if to not in site.hosts:
        raise UsageError(f"there is no host {to!r}", resolution=f"those of {deployment.name}: {', '.join(site.hosts)}")
    if source == to:
        raise UsageError(f"{deployment.name} runs on host {to} already")
