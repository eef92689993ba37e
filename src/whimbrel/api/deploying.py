"""Services are put up, found again, and listed."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from whimbrel.api.holding import Guard, unguarded
from whimbrel.api.scenario import nobody, scenario_of
from whimbrel.api.service import Service
from whimbrel.deployment.bringing_up import bring_up, guest_of, refuse_name
from whimbrel.deployment.deployed import Deployment, one_arm_of, others_beside, plan_of
from whimbrel.deployment.deployed import deployed as everything_deployed
from whimbrel.deployment.deployed import find as find_deployment
from whimbrel.deployment.standing import places_of
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.events import Told
from whimbrel.images.store import ImageStore
from whimbrel.migrate.journal import DamagedJournalError, read_history
from whimbrel.migrate.verify import Copies, find_copies
from whimbrel.moves.making import make_images
from whimbrel.moves.needs import wanted_of
from whimbrel.moves.possible import need_container_techniques
from whimbrel.moves.site import is_up, ledger_for, site_for
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.spec.service import FormName
from whimbrel.system.capabilities import need_capabilities
from whimbrel.system.root import need_root


@dataclass(frozen=True)
class Standing:
    """A deployed service as its hosts say it: where it runs or stands still, and how its last move ended, in words."""

    name: str
    form: FormName
    site: str
    runs_on: list[HostName]
    stands_still_on: list[HostName]
    move: str


def deploy(
    scenario: CampaignSpec | Path | str,
    *,
    arm: str | None = None,
    name: str | None = None,
    on: HostName | None = None,
    take_over: bool = False,
    told: Told = nobody,
    guard: Guard = unguarded,
) -> Service:
    """Puts the service of one arm up and leaves it there, for its ``migrate`` to move. Makes the file's lab when it is not up.

    ``arm`` is needed when the file has several; ``name`` is what it goes by from now on (default: the arm's scenario), ``on`` the
    host it starts on (default: the first). ``told`` hears of each step. UsageError when something of it cannot be.
    """
    spec = one_arm_of(scenario_of(scenario), arm)
    name = name or spec.scenarios[0].name
    on = on or spec.host_names[0]
    if on not in spec.host_names:
        raise UsageError(f"the file has no host {on!r}", resolution=f"those it has: {', '.join(spec.host_names)}")
    need_root("deploying")
    refuse_name(name)
    plan = plan_of(spec, on, next(host for host in spec.host_names if host != on))
    with ledger_for(spec) as ledger, guard(ledger):
        if spec.hosts is None:
            need_capabilities()
        store = ImageStore(told)
        if plan.form == "container":
            need_container_techniques({f"arm {plan.arm!r}": spec.migration.technique}, store)
        left_up = is_up(spec, ledger)
        beside = others_beside(spec, name)
        number = next(number for number in itertools.count(1) if number not in {each.number for each in beside})
        make_images(wanted_of(spec, [plan]), store, ledger, told)
        site = site_for(spec, store, ledger, take_over, number)
        with ExitStack() as undo:
            if not left_up:
                site.up()
                undo.callback(site.down)
            made_lab = not left_up or any(each.made_lab for each in beside)
            bring_up(site, spec, name, on, made_lab, number)
            undo.pop_all()
        if not left_up:
            ledger.keep(spec.lab.model_dump_json(), elsewhere=spec.hosts is not None)
    return Service(name, plan.form, site.guest.address, tuple(spec.host_names))


def find(name: str) -> Service:
    """What is deployed under this name; UsageError, which lists what there is, when there is nothing."""
    need_root("asking what is deployed")
    deployment = find_deployment(name)
    site = site_for(deployment.spec, ImageStore(), ledger_for(deployment.spec), number=deployment.number)
    return Service(name, deployment.form, site.guest.address, tuple(deployment.spec.host_names))


def deployed() -> list[Standing]:
    """All that is deployed, as its hosts say it now."""
    need_root("asking the hosts")
    return [_standing(deployment) for deployment in everything_deployed()]


def _standing(deployment: Deployment) -> Standing:
    spec, copies = deployment.spec, _copies_of(deployment)
    site = spec.hosts.name if spec.hosts is not None else spec.lab.name
    return Standing(deployment.name, deployment.form, site, copies.running, copies.standing, _last_move(deployment))


def _last_move(deployment: Deployment) -> str:
    try:
        history = read_history(deployment.journal_file)
    except DamagedJournalError as error:
        return error.brief
    if history is None:
        return "not moved yet"
    way = f"{history.intent.spec.technique} to {history.intent.destination}"
    state = history.ended or ("under way" if history.driven else "interrupted: recover it")
    return f"last move ({way}): {state}"


def _copies_of(deployment: Deployment) -> Copies:
    """Asks the hosts, without their ledger: somebody may be moving it."""
    try:
        with ExitStack() as holding:
            site = site_for(deployment.spec, ImageStore(), ledger_for(deployment.spec), number=deployment.number)
            return find_copies(guest_of(deployment, site), list(places_of(deployment, site, holding).values()))
    except WhimbrelError:
        return Copies([], [])
