"""``techniques``: which form can be moved by which technique."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, get_args

import typer

from whimbrel.images.store import ImageStore
from whimbrel.lab.criu_check import what_is_known
from whimbrel.migrate.techniques import possibilities
from whimbrel.spec.migration import StorageName


def techniques(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists every pair of form and technique: what it moves, whether it can be done, and why not."""
    found = possibilities(what_is_known(ImageStore()))
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    for each in found:
        said = "yes" if each.possible else f"no: {each.reason}"
        print(f"{each.form:10s}{each.technique:15s}moves the {each.moves:10s}{said}")
    print(f"'migration.storage' ({', '.join(get_args(StorageName))}) goes with every technique that moves the vm")
