"""Puts a service up on one host, and takes it away again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack

from whimbrel.deployment.deployed import NAME_PATTERN, Deployment, folder_of, plan_of
from whimbrel.errors import CleanUpError, TrialError, UsageError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import container_of
from whimbrel.guests.ends import noticed
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity, identity_before_names
from whimbrel.hosts.site import Site, carrier_on, cells_of
from whimbrel.moves.fresh import fresh
from whimbrel.moves.starts import Starts
from whimbrel.moves.subject import Setting
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.system.folders import make_private


def refuse_name(name: str) -> None:
    """UsageError when the name is taken, or cannot be one."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"{name!r} cannot be a name: small letters, digits and '-', a letter first, at most 30")
    if folder_of(name).exists():
        raise UsageError(f"{name!r} is deployed already", resolution=f"'whimbrel undeploy {name}', or choose another --name")


def bring_up(site: Site, spec: CampaignSpec, name: str, on: HostName, made_lab: bool, number: int = 1) -> Deployment:
    """Starts the service from a saved state and waits until it answers; ``spec`` is of one arm, and ``number`` the site's."""
    the_guest.refuse_another(site)
    plan = plan_of(spec, on, next(name for name in site.hosts if name != on))
    if plan.form == "container":
        _refuse_another_container(site)
    state = Starts(site).get(spec, plan)
    deployment = Deployment(name=name, spec=spec, on=on, id=state.id, accelerator=state.accelerator, versions=state.versions,
                            description=None, made_lab=made_lab, number=number, vms=_new_vms(site, spec))  # fmt: skip
    # The site's ledger lists it, so it goes when the site has gone.
    site.ledger.add("record", str(deployment.folder))
    with ExitStack() as undo, ExitStack() as holding:
        undo.callback(take_down, site, deployment)
        make_private(deployment.folder.parent)
        deployment.folder.mkdir(exist_ok=True)
        service = fresh(Setting(site, spec, plan), state)
        holding.enter_context(noticed(service.names, list(site.hosts.values())))
        brought = service.bring_up(holding)
        if not deployment.moves_container:
            the_guest.start_beside(brought.inside, spec.guest.dirtier, spec.observe.witness)
        brought.subject.wait_until_it_serves(brought.inside)
        if not deployment.moves_container:
            deployment = deployment.model_copy(update={"description": _description(site.hosts[on], guest_of(deployment, site))})
        deployment.write()
        undo.pop_all()
    return deployment


def take_down(site: Site, deployment: Deployment) -> None:
    """Ends the service wherever it is, then forgets it; the lab stays. CleanUpError, and nothing forgotten, when it may run."""
    failures = []
    for host in site.hosts.values():
        try:
            if not host.gone:
                _end_on(host, site, deployment)
        except TrialError as error:
            failures.append(f"host {host.name}: {error}")
    if failures:
        raise CleanUpError(
            f"{deployment.name} may still run",
            details="\n".join(failures),
            resolution=f"mend what is named, then 'whimbrel undeploy {deployment.name}' again",
        )
    for entry in site.ledger.entries:
        if entry.name == str(deployment.folder):
            site.ledger.undo(entry)


def _end_on(host: Host, site: Site, deployment: Deployment) -> None:
    if deployment.form != "container":
        the_guest.take_power_away(host, vms_of(deployment, site)[host.name])
        return
    cell = cells_of(site).find(host)
    if cell is not None:
        cell.close()


def _refuse_another_container(site: Site) -> None:
    """UsageError when a server has one where this one is to be, which an earlier deployment has left."""
    for host in site.hosts.values():
        if cells_of(site).find(host) is not None:
            raise UsageError(
                f"host {host.name} already has a container at {site.guest.address}, which is not deployed any more",
                resolution="take the lab down ('whimbrel lab down'), or deploy into another lab: --set lab.name=...",
            )


def vms_of(deployment: Deployment, site: Site) -> Mapping[HostName, GuestIdentity]:
    """Its VM on each host; none where there are no VMs."""
    if deployment.vms is not None:
        return deployment.vms
    return {name: identity_before_names(guest.address) for name, guest in _new_vms(site, deployment.spec).items()}


def _new_vms(site: Site, spec: CampaignSpec) -> dict[HostName, GuestIdentity]:
    scenario = spec.scenarios[0]
    if (scenario.every_arm[0].form or scenario.form) == "container":
        return {}
    is_inside = spec.migration.moves == "container"
    return {name: carrier_on(site, name) if is_inside else site.guest for name in site.hosts}


def guest_of(deployment: Deployment, site: Site) -> GuestIdentity:
    """What moves: its container, or its VM, which is the same one on every host."""
    return container_of(site.guest) if deployment.moves_container else vms_of(deployment, site)[deployment.on]


def _description(host: Host, guest: GuestIdentity) -> str:
    with host.hypervisor() as connection:
        found = connection.find(guest.uuid)
        assert found is not None
        return found.description
