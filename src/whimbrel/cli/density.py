"""``density``: how many guests one server carries, in each form."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.terminal import complain, notice, print_table
from whimbrel.cli.typed import as_typed
from whimbrel.density import DensityRun, make_images
from whimbrel.errors import UsageError
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.records.density import DensityRecord, holds_density
from whimbrel.report.density import fillings_table, steps_table, verdict_of
from whimbrel.spec.load import load_density
from whimbrel.system.capabilities import need_capabilities
from whimbrel.system.root import need_root


def density(
    file: Annotated[Path, typer.Argument(help="A density file, such as scenarios/density.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as most=4.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: results/NAME-TIME.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Fills a server with guests of each form until a limit of the file is crossed, and says how many fit and what each costs."""
    spec = load_density(file, set_ or [])
    folder = (out or Path("results") / f"{spec.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}").absolute()
    if holds_density(folder) or (folder / "campaign.json").exists():
        raise UsageError(f"{folder} already holds results", resolution="name another folder with --out")
    need_root("filling a server")
    need_capabilities()
    store = ImageStore(notice())
    with ledger_of(spec.lab.name) as ledger, Interrupts(ledger):
        make_images(spec, store)
        site = Lab(spec.lab, store, ledger)
        site.up()
        try:
            record = DensityRun(spec, site, ledger, folder, as_typed(), complain).run()
        finally:
            site.down()
    write_page(folder, record)
    show_density(record, as_json)
    if not as_json:
        print(f"\npage: {folder / 'report.html'}")


def write_page(folder: Path, record: DensityRecord) -> Path:
    """Writes the page of such results."""
    from whimbrel.report.density_page import write_density_page  # slow to import, as are all charts

    return write_density_page(folder, record)


def show_density(record: DensityRecord, as_json: bool) -> None:
    """Prints how many guests fit, and what each further one cost."""
    if as_json:
        print(record.model_dump_json(indent=1))
        return
    for filling in record.fillings:
        print(verdict_of(filling))
    print_table(fillings_table(record), whole=True)
    print_table(steps_table(record), whole=True)
