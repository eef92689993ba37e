"""``deploy``, ``undeploy`` and ``deployed``: a service that is put up outside any campaign, and left."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.api import deploying as api
from whimbrel.api.service import undeploy as end
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.run import TAKE_OVER
from whimbrel.cli.terminal import notice
from whimbrel.spec.load import load_campaign

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
    service = api.deploy(
        load_campaign(file, set_ or []), arm=arm, name=name, on=on, take_over=take_over, told=notice(), guard=Interrupts
    )
    host = on or service.hosts[0]
    if as_json:
        print(json.dumps({"name": service.name, "address": service.address, "host": host, "form": service.form}, indent=1))
        return
    print(f"{service.name} runs on host {host} and answers at {service.address} in the network of its guests")
    print(f"move it: whimbrel migrate {service.name} --to {next(other for other in service.hosts if other != host)}")


def undeploy(name: Deployed) -> None:
    """Ends a deployed service, and takes down the lab that was made for it, unless others are deployed there."""
    end(name, guard=Interrupts)
    print(f"{name} is gone")


def deployed(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists what is deployed: where each runs, and whether a move of it is under way or was interrupted."""
    found = api.deployed()
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    for each in found:
        running = f"runs on {' and '.join(each.runs_on)}" if each.runs_on else "is not seen to run"
        standing = f", stands still on {' and '.join(each.stands_still_on)}" if each.stands_still_on else ""
        print(f"{each.name}: {each.form} in {each.site}, {running}{standing}; {each.move}")
    if not found:
        print("nothing is deployed")
