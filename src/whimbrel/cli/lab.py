"""``lab up|down|status|exec`` and ``gc``: labs by hand, and what crashes left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.terminal import complain, notice
from whimbrel.errors import CleanUpError, UsageError
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, all_labs, ledger_of
from whimbrel.spec.fields import RECORD
from whimbrel.spec.lab import LabSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.ledger import Ledger, all_ledgers, unreadable
from whimbrel.system.root import need_root

app = typer.Typer(help="Labs: servers and a client network on this machine.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The lab's name.")]


@app.command()
def up(file: Annotated[Path, typer.Argument(help="A scenario file; its lab is made.")]) -> None:
    """Makes a lab and leaves it up, for 'run' and 'lab exec' to use."""
    need_root("a lab")
    spec = load_campaign(file).lab
    with ledger_of(spec.name) as ledger, Interrupts(ledger):
        if ledger.kept:
            raise UsageError(f"the lab {spec.name!r} is already up", resolution=f"'whimbrel lab down {spec.name}' removes it")
        lab = Lab(spec, ImageStore(notice()), ledger)
        lab.up()
        ledger.keep(spec.model_dump_json())
    servers = [f"{server.name} ({server.address})" for server in lab.hosts.values()]
    print(f"lab {spec.name} is up: servers {', '.join(servers[:-1])} and {servers[-1]}")


@app.command()
def down(name: Name) -> None:
    """Removes a lab and everything in it."""
    need_root("removing a lab")
    with _existing(name) as ledger, Interrupts(ledger):
        ledger.undo_all()
    print(f"lab {name} is gone")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists labs: whether each is in use, left up, or left behind."""
    found = [{"name": name, "state": _state(ledger), "things": len(ledger.entries)} for name, ledger in all_labs()]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for lab in found:
        print(f"{lab['name']}: {lab['state']}, {lab['things']} things on this machine")
    if not found:
        print("there is no lab")


@app.command("exec", context_settings={"ignore_unknown_options": True})
def exec_(
    name: Name,
    host: Annotated[str, typer.Argument(help="The server, such as a.")],
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
) -> int:
    """Runs a command inside a server of a lab that is up."""
    need_root("entering a lab")
    ledger = ledger_of(name)
    if not ledger.kept:
        raise UsageError(f"there is no lab {name!r} up", resolution="'whimbrel lab up FILE' makes one")
    try:
        spec = LabSpec.model_validate_json(ledger.note, context=RECORD)
    except ValidationError as error:
        raise UsageError(
            f"what was noted of the lab {name!r} is damaged: {error.errors()[0]['msg']}",
            resolution=f"'whimbrel lab down {name}' removes it",
        ) from error
    if host not in spec.servers:
        raise UsageError(f"the lab {name!r} has no server {host!r}", resolution=f"those it has: {', '.join(spec.servers)}")
    done = Lab(spec, ImageStore(), ledger).hosts[host].run(command, check=False, timeout_s=3600)
    print(done.stdout, end="")
    if done.stderr:
        complain(done.stderr.rstrip())
    return done.exit_code


def _existing(name: str) -> Ledger:
    ledger = ledger_of(name)
    if not ledger.entries and not ledger.kept:
        raise UsageError(f"there is no lab {name!r}", resolution="'whimbrel lab status' lists those there are")
    return ledger


def _state(ledger: Ledger) -> str:
    if ledger.owned:
        return "in use"
    return "up" if ledger.kept else "left behind by a crash"


def gc(
    everything: Annotated[bool, typer.Option("--all", help="Also remove labs that were left up on purpose.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Removes what crashed commands have left: processes, namespaces, links, groups, folders, half-made images."""
    need_root("removing what was left behind")
    removed: list[str] = []
    failures: list[str] = []
    for ledger in all_ledgers():
        try:
            ledger.acquire()
        except UsageError:
            continue  # its owner lives
        try:
            if ledger.kept and not everything:
                continue
            listed = ledger.entries
            try:
                ledger.undo_all()
            finally:
                left = ledger.entries
                removed += [f"{entry.kind} {entry.name}" for entry in listed if entry not in left]
        except CleanUpError as error:
            failures.append(error.details)
        finally:
            ledger.release()
    failures += [words for words in unreadable() if words not in failures]
    if as_json:
        print(json.dumps({"removed": removed, "failures": failures}, indent=1))
    else:
        for thing in removed:
            print(f"removed {thing}")
        if not removed and not failures:
            print("nothing was left behind")
    if failures:
        raise CleanUpError(
            "some things could not be removed",
            details="\n".join(failures),
            resolution="look at what holds them, then run gc again",
        )
