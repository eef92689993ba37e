"""The page of how a server was filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt

from whimbrel.records.caller import write_file
from whimbrel.records.density import DensityRecord
from whimbrel.report.charts import WIDTH, NamedChart, inline, named
from whimbrel.report.content import PAGE
from whimbrel.report.density import fillings_table, steps_table, verdict_of
from whimbrel.report.layout import bundle, inlined, templates
from whimbrel.report.rows import Rows
from whimbrel.units import format_bytes

_MIB = 2**20


def write_density_page(folder: Path, record: DensityRecord) -> Path:
    """Writes the page in one step, and returns it."""
    charts = [density_chart(record)]
    text = templates("whimbrel.report").get_template("density.html.j2").render(
        record=record,
        title=record.spec.title or record.spec.name,
        server=f"{record.spec.server}: {format_bytes(record.spec.lab.servers[record.spec.server].memory_bytes)} of memory, "
        f"CPUs {', '.join(map(str, record.server_cpus))}",
        guest=f"{format_bytes(record.spec.guest.memory_bytes)}, {record.spec.guest.vcpus} vCPU",
        verdicts=[verdict_of(filling) for filling in record.fillings],
        tables=[("fit", "How many fit", fillings_table(record)), ("steps", "With each further guest", steps_table(record))],
        charts=charts,
        specs=[inlined(chart) for chart in charts],
        bundle=bundle(),
    )  # fmt: skip
    write_file(folder / PAGE, text.encode(), lasting=False)
    return folder / PAGE


def density_chart(record: DensityRecord) -> NamedChart:
    """Memory and CPU of the server against guests, a line for each form, idle and watched."""
    rows: Rows = [
        {
            "guests": step.guests,
            "form": f"{filling.form}, {'watched' if filling.viewers else 'idle'}",
            "memory_mib": round(step.memory_bytes / _MIB, 1) if step.memory_bytes is not None else None,
            "cpu_cores": round(step.cpu_cores, 3) if step.cpu_cores is not None else None,
        }
        for filling in record.fillings
        for step in (filling.before, *filling.steps)
    ]
    panels = [_panel(rows, "memory_mib", "memory of the server (MiB)"), _panel(rows, "cpu_cores", "CPU of the server (cores)")]
    caption = "The whole server, with each further guest; memory is without page cache."
    return named("density", "The server as it is filled", caption, alt.vconcat(*panels, spacing=6))


def _panel(rows: Rows, column: str, title: str) -> Any:
    return (
        alt.Chart(inline([{key: row[key] for key in ("guests", "form", column)} for row in rows if row[column] is not None]))
        .mark_line(point=True, strokeWidth=1.5)
        .encode(
            x=alt.X("guests:Q", title="guests", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=True)),
            color=alt.Color("form:N", title=None),
            tooltip=["form:N", "guests:Q", alt.Tooltip(f"{column}:Q", format=".2f")],
        )
        .properties(width=WIDTH - 120, height=220)
    )
