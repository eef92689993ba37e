"""``images``: what is stored, and what may go."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from whimbrel.cli.terminal import notice
from whimbrel.errors import UsageError
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import all_labs
from whimbrel.system.root import need_root
from whimbrel.units import format_bytes

app = typer.Typer(
    help="Images: trees, disks, films and saved states, stored by the hash of what went into them.",
    no_args_is_help=True,
)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists the images and what they take."""
    images = ImageStore().images()
    if as_json:
        print(
            json.dumps(
                [{"id": image.id, "disk_bytes": image.disk_bytes, "manifest": image.manifest} for image in images],
                indent=1,
            )
        )
        return
    for image in images:
        print(f"{format_bytes(image.disk_bytes):>10}  {image.id}")
    print(f"{format_bytes(sum(image.disk_bytes for image in images)):>10}  in all")


@app.command()
def remove(
    names: Annotated[list[str] | None, typer.Argument(help="The images to remove.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every image; they are made anew when needed.")] = False,
) -> None:
    """Removes images and saved states by name."""
    need_root("removing images")
    if not names and not everything:
        raise UsageError("no image is named", resolution="name images, or say --all")
    in_use = [name for name, ledger in all_labs() if ledger.entries]
    if in_use:
        raise UsageError(f"the lab {in_use[0]!r} is there and may use them", resolution="take it down first, or wait for it")
    store = ImageStore(notice())
    for name in [image.id for image in store.images()] if everything else names or []:
        store.remove(name)
        print(f"removed {name}")
