"""``serve``: the page of what is finished, for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whimbrel.cli.live import ANYWHERE
from whimbrel.errors import UsageError
from whimbrel.live.address import Address
from whimbrel.report.content import PAGE


def serve(
    folder: Annotated[Path, typer.Argument(help="Results of 'run', 'migrate --out' or 'watch --out'.")],
    live: Annotated[
        str, typer.Option("--live", metavar="[ADDRESS:PORT]", help="Where; without an address on this machine alone.")
    ] = ANYWHERE,
) -> None:
    """Serves the page of finished results until Ctrl-C. Others need the token that is printed with its address."""
    address = Address.parse(live, "--live")
    page = folder / PAGE
    if not page.is_file():
        raise UsageError(f"{folder}: there is no {PAGE} in it", resolution=f"'whimbrel report {folder}' writes it")
    # It takes a quarter of a second to import, which only those who want it should pay.
    from whimbrel.live.finished import serve as serve_it

    serve_it(page, address, lambda url: print(url, flush=True))
