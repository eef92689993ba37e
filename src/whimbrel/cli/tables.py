"""``export`` and ``query``: campaigns as tables, for other programs and for questions of one's own."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from whimbrel.cli.terminal import complain, reading
from whimbrel.errors import UsageError
from whimbrel.records.caller import make_folder, write_file
from whimbrel.records.store import CampaignFolder
from whimbrel.report.export import TABLES, tables_of, write_tables
from whimbrel.report.load import load_trials

_TABLES_FOLDER = "tables"


def export(
    folder: Annotated[Path, typer.Argument(help="A folder that 'whimbrel run' has written.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default: 'tables' beside the records.")] = None,
    page: Annotated[
        bool,
        typer.Option("--page", help="Also copy page, charts and each trial's figures: all there is to publish, no raw series."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files' names as JSON.")] = False,
) -> None:
    """Writes a campaign as tidy tables, CSV and Parquet: a row per trial, viewer, player buffer and instrument."""
    campaign = CampaignFolder.open(folder)
    target = out or folder / _TABLES_FOLDER
    try:
        files = write_tables(_tables_of(campaign), target)
        files += _copy_what_is_derived(folder, target) if page else []
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}", resolution="name another folder with --out") from error
    if as_json:
        print(json.dumps([str(file) for file in files], indent=1))
    else:
        print("\n".join(map(str, files)))


def _tables_of(campaign: CampaignFolder) -> dict[str, pl.DataFrame]:
    with reading(campaign) as told:
        return tables_of(campaign.folder.resolve().name, load_trials(campaign, told=told))


def _copy_what_is_derived(folder: Path, target: Path) -> list[Path]:
    derived = [(file, f"trials/{file.parent.name}.json") for file in sorted(folder.glob("trials/*/derived.json"))]
    charts = [(file, f"figures/{file.name}") for file in sorted(folder.glob("figures/*"))]
    files = []
    for source, name in [(folder / "report.html", "report.html"), *charts, *derived]:
        make_folder((target / name).parent)
        write_file(target / name, source.read_bytes())
        files.append(target / name)
    return files


def query(
    question: Annotated[str, typer.Argument(help='SQL, such as "select arm, median(total_s) from trials group by arm".')],
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Campaigns, or folders of campaigns; default: 'results'.", show_default=False)
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list of objects.")] = False,
) -> None:
    """Asks all campaigns a question in SQL; the tables are trials, viewers, playbacks, instruments and predictions."""
    answer = _ask(question, _stack(_campaigns(folders or [Path("results")])))
    if as_csv:
        sys.stdout.write(answer.write_csv())
    elif as_json:
        print(json.dumps(answer.to_dicts(), indent=1, default=str))
    else:
        with pl.Config(
            tbl_rows=-1, tbl_cols=-1, tbl_width_chars=-1, fmt_str_lengths=60, tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True, tbl_formatting="NOTHING",
        ):  # fmt: skip
            print(answer)


def _campaigns(folders: list[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        inside = sorted(file.parent for file in folder.glob("*/campaign.json"))
        if (folder / "campaign.json").is_file():
            found.append(folder)
        elif inside:
            found += inside
        else:
            raise UsageError(f"{folder} holds no results of whimbrel", resolution="name folders that 'whimbrel run' has written")
    return found


def _stack(folders: list[Path]) -> dict[str, pl.DataFrame]:
    """The tables of every campaign that this whimbrel can read, one below the other; UsageError for a folder without any."""
    stacked: dict[str, list[pl.DataFrame]] = {name: [] for name in TABLES}
    unread: UsageError | None = None
    for folder in folders:
        try:
            tables = _tables_of(CampaignFolder.open(folder))
        except UsageError as error:
            unread = error
            complain(f"left out: {error.brief}")
            continue
        for name, frame in tables.items():
            stacked[name].append(frame)
    if not stacked["trials"]:
        assert unread is not None
        raise unread
    return {name: pl.concat(frames) for name, frames in stacked.items()}


def _ask(question: str, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    # Slow to import, and only this command asks.
    import duckdb

    with duckdb.connect(":memory:") as connection, tempfile.TemporaryDirectory() as folder:
        for name, frame in tables.items():
            file = Path(folder) / f"{name}.parquet"
            frame.write_parquet(file)
            connection.execute(f"create table {name} as select * from read_parquet(?)", [str(file)])
        # A question is about the campaigns, not about other files of this machine.
        connection.execute("set enable_external_access = false")
        try:
            if not connection.extract_statements(question):
                raise UsageError("no question is asked", details=_columns(tables))
            answer = connection.execute(question)
            columns = [column[0] for column in answer.description or []]
            return pl.DataFrame(answer.fetchall(), schema=columns, orient="row", infer_schema_length=None)
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"the question was not understood: {first}", details=_columns(tables)) from error


def _columns(tables: dict[str, pl.DataFrame]) -> str:
    return "; ".join(f"{name} has {', '.join(frame.columns)}" for name, frame in tables.items())
