"""``hosts`` and ``guests``: what a user has, and where it could go."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whimbrel.cli.doctor import examine_file
from whimbrel.cli.findings import print_findings
from whimbrel.cli.terminal import complain
from whimbrel.errors import CapabilityError
from whimbrel.hosts.preflight.finding import Finding, possible
from whimbrel.own.checking import CheckedWay, check_hosts
from whimbrel.own.listing import ListedHost, guests_by_host, list_hosts
from whimbrel.own.preflight.examine import examine_moves
from whimbrel.own.sides import sides_of
from whimbrel.plain_text import visible
from whimbrel.spec.inventory import Inventory, load_inventory
from whimbrel.spec.migration import MigrationSpec
from whimbrel.units import format_bytes

HostsFile = Annotated[
    Path | None,
    typer.Option("--hosts", metavar="FILE", help="Hosts by name; default: hosts.yaml here or in $XDG_CONFIG_HOME/whimbrel."),
]
_WIDTH = 160
_BLOCKED = CapabilityError.exit_code


app = typer.Typer(
    invoke_without_command=True, help="Lists the hosts of a file, with their room, guests and state; or tries them."
)


@app.callback()
def hosts(
    context: typer.Context, file: HostsFile = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> int:
    """Lists the hosts of a file with their room, guests and state. Exit code 1 when one does not answer."""
    if context.invoked_subcommand is not None:
        return 0
    return tell_hosts(file, as_json)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="HOST", help="Those that are tried; default: all.")] = None,
    file: HostsFile = None,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="Try the hosts of a scenario file instead, as 'doctor' did.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Tries every way between hosts before any guest moves, with a small guest of ours on each for a moment.

    Exit code 3 when something blocks a move between two of them.
    """
    if scenario is not None:
        return examine_file(scenario, as_json)
    ways = []
    for way in check_hosts(load_inventory(file), names or []):
        ways.append(way)
        if not as_json:
            _tell_way(way)
    if as_json:
        print(json.dumps([{**asdict(way), "possible": possible(list(way.findings))} for way in ways], indent=1))
    return _BLOCKED if any(possible(list(way.findings)) is False for way in ways) else 0


def _tell_way(way: CheckedWay) -> None:
    said = {True: "well", False: "BLOCKED", None: "well, as far as anybody can see"}[possible(list(way.findings))]
    print(f"{way.source} to {way.destination}: {said}")
    if way.findings:
        print_findings(way.findings)


def tell_hosts(file: Path | None, as_json: bool) -> int:
    """Lists them on stdout."""
    found = list_hosts(load_inventory(file))
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        _table(["host", "state", "libvirt", "QEMU", "processors", "memory", "free at most", "guests", "labels"],
               [_row(each) for each in found])  # fmt: skip
    for each in found:
        if each.trouble:
            complain(f"host {each.name}: {each.trouble}")
    return int(any(each.trouble for each in found))


def _row(host: ListedHost) -> list[str]:
    if host.versions is None:
        return [host.name, "silent", *[""] * 6, ", ".join(host.labels)]
    return [
        host.name, "answers", host.versions["libvirt"], host.versions["qemu"], str(host.processors),
        format_bytes(host.memory_bytes or 0), format_bytes(host.free_at_most_bytes or 0),
        f"{host.guests_running} of {host.guests} run", ", ".join(host.labels),
    ]  # fmt: skip


def guests(
    file: HostsFile = None,
    to: Annotated[str | None, typer.Option(metavar="HOST", help="Say of each guest that runs whether it can move there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Lists every guest of every host with its size and state, and whether it can move to a host (--to).

    Exit code 1 when a host does not answer.
    """
    inventory = load_inventory(file)
    if to is not None:
        inventory.host(to)
    rows, silent = [], False
    for host, answer in guests_by_host(inventory).items():
        if isinstance(answer, str):
            complain(f"host {host}: {answer}")
            silent = True
            continue
        against = _against(inventory, [guest.uuid for guest in answer if guest.state == "runs"], host, to)
        for guest in answer:
            row: dict[str, object] = {"host": host, **asdict(guest)}
            if to is not None:
                row["can_move"], row["against"] = _in_short(against.get(guest.uuid))
            rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        more = [f"to {to}"] if to is not None else []
        _table(["guest", "host", "state", "memory", "vCPUs", "kept", *more], [_guest_row(row, to is not None) for row in rows])
    return int(silent)


def _against(inventory: Inventory, uuids: list[str], host: str, to: str | None) -> dict[str, list[Finding]]:
    """What stands against moving each of a host's guests; nothing is asked of those that are there already."""
    if to is None or host == to or not uuids:
        return {}
    return examine_moves(uuids, *sides_of(host, to, inventory=inventory), MigrationSpec())


def _in_short(found: list[Finding] | None) -> tuple[bool | None, list[str]]:
    """Whether it can move, and the codes of what stands against it, those that block first; None: nobody has asked."""
    if found is None:
        return None, []
    blocks = [each.code for each in found if each.severity == "blocks"]
    return possible(found), blocks or [each.code for each in found if each.severity == "warns"]


def _guest_row(row: dict[str, object], moves: bool) -> list[str]:
    memory = row["memory_bytes"]
    size = format_bytes(memory) if isinstance(memory, int) else "unknown"
    said = [str(row["name"]), str(row["host"]), str(row["state"]), size, str(row["vcpus"] or "unknown")]
    said.append("yes" if row["persistent"] else "no")
    if moves:
        against = row["against"]
        can = {True: "yes", False: "no", None: "as far as seen" if row["state"] == "runs" and row["can_move"] is None else ""}
        codes = ", ".join(against) if isinstance(against, list) else ""
        said.append(f"{can[row['can_move']] if isinstance(row['can_move'], bool) else can[None]}{f': {codes}' if codes else ''}")
    return said


def _table(headings: list[str], lines: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for line in lines:
        table.add_row(*map(visible, line))
    Console(width=_WIDTH, highlight=False, markup=False).print(table)
