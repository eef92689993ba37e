"""``deploy``, ``undeploy`` and ``deployed``: a service that is put up outside any campaign, and left."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.run import TAKE_OVER
from whimbrel.cli.terminal import notice
from whimbrel.deployment.bringing_up import bring_up, guest_of, refuse_name, take_down
from whimbrel.deployment.deployed import Deployment, find, one_arm_of, others_beside, plan_of
from whimbrel.deployment.deployed import deployed as everything_deployed
from whimbrel.deployment.standing import places_of
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.images.store import ImageStore
from whimbrel.migrate.journal import DamagedJournalError, read_history
from whimbrel.migrate.verify import Copies, find_copies
from whimbrel.moves.making import make_images
from whimbrel.moves.needs import wanted_of
from whimbrel.moves.place import is_up, ledger_for, site_for
from whimbrel.spec.load import load_campaign
from whimbrel.system.capabilities import need_capabilities
from whimbrel.system.root import need_root

Deployed = Annotated[
    str, typer.Argument(metavar="GUEST", help="The name it was deployed under ('whimbrel deployed' lists them).")
]


def deploy(
    file: Annotated[Path, typer.Argument(help="A scenario file: its lab or hosts, guest and stream.")],
    arm: Annotated[str | None, typer.Option(help="Which arm of the file, such as vm-1; needed when it has several.")] = None,
    name: Annotated[str | None, typer.Option(help="What it goes by from now on; default: the arm's scenario.")] = None,
    on: Annotated[
        str | None, typer.Option(metavar="HOST", help="The host it starts on, by its name in the file; default: the first.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the file.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help=TAKE_OVER)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Puts a service up and leaves it there, for 'migrate' to move. Makes the file's lab when it is not up."""
    spec = one_arm_of(load_campaign(file, set_ or []), arm)
    name = name or spec.scenarios[0].name
    on = on or spec.host_names[0]
    if on not in spec.host_names:
        raise UsageError(f"the file has no host {on!r}", resolution=f"those it has: {', '.join(spec.host_names)}")
    need_root("deploying")
    refuse_name(name)
    with ledger_for(spec) as ledger, Interrupts(ledger):
        if spec.hosts is None:
            need_capabilities()
        left_up = is_up(spec, ledger)
        beside = others_beside(spec, name)
        number = next(number for number in itertools.count(1) if number not in {each.number for each in beside})
        store = ImageStore(notice())
        other = next(host for host in spec.host_names if host != on)
        make_images(wanted_of(spec, [plan_of(spec, on, other)]), store, ledger, notice())
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
    if as_json:
        print(
            json.dumps(
                {"name": name, "address": site.guest.address, "host": on, "form": spec.scenarios[0].every_arm[0].form}, indent=1
            )
        )
        return
    print(f"{name} runs on host {on} and answers at {site.guest.address} in the network of its place")
    print(f"move it: whimbrel migrate {name} --to {next(other for other in site.hosts if other != on)}")


def undeploy(name: Deployed) -> None:
    """Ends a deployed service, and takes down the lab that was made for it, unless others are deployed there."""
    need_root("undeploying")
    deployment = find(name)
    with ledger_for(deployment.spec) as ledger, Interrupts(ledger):
        if deployment.made_lab and not others_beside(deployment.spec, name):
            ledger.undo_all()
        else:
            take_down(site_for(deployment.spec, ImageStore(), ledger, number=deployment.number), deployment)
    print(f"{name} is gone")


def deployed(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists what is deployed: where each runs, and whether a move of it is under way or was interrupted."""
    need_root("asking the hosts")
    found = [_facts(deployment) for deployment in everything_deployed()]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for facts in found:
        running = f"runs on {' and '.join(facts['runs_on'])}" if facts["runs_on"] else "is not seen to run"
        standing = f", stands still on {' and '.join(facts['stands_still_on'])}" if facts["stands_still_on"] else ""
        print(f"{facts['name']}: {facts['form']} in {facts['place']}, {running}{standing}; {facts['move']}")
    if not found:
        print("nothing is deployed")


def _facts(deployment: Deployment) -> dict[str, Any]:
    move = "not moved yet"
    try:
        history = read_history(deployment.journal_file)
    except DamagedJournalError as error:
        history, move = None, error.brief
    if history is not None:
        way = f"{history.intent.spec.technique} to {history.intent.destination}"
        state = history.ended or ("under way" if history.driven else "interrupted: recover it")
        move = f"last move ({way}): {state}"
    spec, copies = deployment.spec, _copies_of(deployment)
    return {
        "name": deployment.name,
        "form": deployment.arm.form,
        "place": spec.hosts.name if spec.hosts is not None else spec.lab.name,
        "runs_on": copies.running,
        "stands_still_on": copies.standing,
        "move": move,
    }


def _copies_of(deployment: Deployment) -> Copies:
    """Asks the hosts, without their ledger: somebody may be moving it."""
    try:
        with ExitStack() as holding:
            site = site_for(deployment.spec, ImageStore(), ledger_for(deployment.spec), number=deployment.number)
            return find_copies(guest_of(deployment, site), list(places_of(deployment, site, holding).values()))
    except WhimbrelError:
        return Copies([], [])
