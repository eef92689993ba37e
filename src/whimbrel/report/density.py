"""Tables of how a server was filled: a line for each form, and a line for each further guest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from whimbrel.analysis.summary import Spread
from whimbrel.records.density import DensityRecord, DensityStep, Filling
from whimbrel.report.table import UNKNOWN, Column, Table, show

_MIB = 2**20
Read = Callable[[DensityStep], float | None]


def verdict_of(filling: Filling) -> str:
    """How many guests fit, and what ended it, in a sentence."""
    many = f"{filling.fit} guest{'' if filling.fit == 1 else 's'} of the form {filling.form}, {_watched(filling)}, fit"
    return f"{many}; {filling.crossed}" if filling.crossed else f"at least {many}; no limit was crossed"


def fillings_table(record: DensityRecord) -> Table:
    """A line per form, idle and watched."""
    columns = [
        Column("form", "how the service is packaged in each guest"),
        Column("viewers", "of each guest"),
        Column("fit", "guests that were there before a limit was crossed"),
        Column("memory each (MiB)", "what a further guest added to the server's memory, page cache apart; median of all"),
        Column("CPU each (cores)", "what a further guest added to the server's CPU; median of all"),
        Column("started in (s)", "from asking for a guest until its service takes connections"),
        Column("slowest start-up (s)", "of all viewers' players, with the last guests that fit"),
    ]
    return Table(columns, [_filling(each) for each in record.fillings])


def _filling(filling: Filling) -> list[str]:
    kept = [step for step in filling.steps if step.crossed is None]
    startup_s = kept[-1].startup_s if kept else None
    return [
        filling.form,
        str(filling.viewers),
        str(filling.fit) if filling.crossed else f"at least {filling.fit}",
        show(each_further(filling, lambda step: step.memory_bytes), ".0f", _MIB),
        show(each_further(filling, lambda step: step.cpu_cores), ".3f"),
        show(_spread([step.started_in_s for step in filling.steps]), ".1f"),
        f"{startup_s:.2f}" if startup_s is not None else UNKNOWN,
    ]


def each_further(filling: Filling, read: Read) -> Spread:
    """What each guest has added to a figure of the server: what it was with it, less what it was before."""
    values = [read(step) for step in (filling.before, *filling.steps)]
    return _spread([late - early if early is not None and late is not None else None for early, late in pairwise(values)])


def steps_table(record: DensityRecord) -> Table:
    """A line per guest: the whole server with it."""
    columns = [
        Column("form", "how the service is packaged in each guest"),
        Column("viewers", "of each guest"),
        Column("guests", "how many there were"),
        Column("memory (MiB)", "of the whole server, page cache apart"),
        Column("CPU (cores)", "of the whole server"),
        Column("started in (s)", "the last guest"),
        Column("slowest start-up (s)", "of all viewers' players"),
        Column("stalls", "of all viewers' players"),
        Column("limit crossed", "with this guest"),
    ]
    lines = [
        [filling.form, str(filling.viewers), *_step(step)]
        for filling in record.fillings
        for step in (filling.before, *filling.steps)
    ]
    return Table(columns, lines)


def _step(step: DensityStep) -> list[str]:
    return [
        str(step.guests),
        _said(step.memory_bytes, ".0f", _MIB),
        _said(step.cpu_cores, ".2f"),
        _said(step.started_in_s, ".1f"),
        _said(step.startup_s, ".2f"),
        _said(step.stalls, "d"),
        step.crossed or "",
    ]


def _said(value: float | None, form: str, divisor: float = 1) -> str:
    if value is None:
        return UNKNOWN
    return format(value / divisor if divisor != 1 else value, form)


def _spread(values: Sequence[float | None]) -> Spread:
    # Guests of one server are not independent of one another.
    return Spread.of(values, independent=False)


def _watched(filling: Filling) -> str:
    return "each with a viewer" if filling.viewers else "idle"
