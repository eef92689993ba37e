"""What a watch has found: said, kept, and as an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from whimbrel.analysis.thresholds import Tick
from whimbrel.cli.terminal import complain
from whimbrel.records.caller import write_file, writing_to
from whimbrel.records.series import write_series
from whimbrel.watch.findings import Findings, as_json, films_by_series, host_notes, ticks_json
from whimbrel.watch.plan import WatchPlan
from whimbrel.watch.rows import HOST_COLUMNS, columns_of, engine_words, host_lines, lines_of
from whimbrel.watch.several import several_json, summaries
from whimbrel.watch.several_rows import several_columns, several_lines

_CROSSED = 99
_INTERRUPTED = 130
_WIDTH_WITHOUT_TERMINAL = 160
_ANY_WIDTH = 10_000


def tell(plan: WatchPlan, findings: Sequence[Findings], ticks: Sequence[Tick], as_json_wanted: bool) -> int:
    """Prints what was found, keeps it where that is wanted, and returns the exit code."""
    said = several_json(findings) if plan.several else as_json(findings[0])
    text = json.dumps({**said, "limits": ticks_json(ticks)}, indent=1) + "\n"
    if as_json_wanted:
        print(text, end="")
    else:
        _print(plan, findings, ticks)
    if plan.keep_output_in is not None:
        _keep(plan.keep_output_in, text, findings, ticks)
    return _exit_code(findings, ticks)


def _print(plan: WatchPlan, findings: Sequence[Findings], ticks: Sequence[Tick]) -> None:
    for tick in ticks:
        print(tick.words)
    if plan.several and summaries(findings):
        _print_table(several_columns(findings), several_lines(findings))
    if not plan.several:
        columns = columns_of(findings, wide=False)
        _print_table(["check", *(column.heading for column in columns)], lines_of(findings[0], columns))
    if findings[0].hosts:
        _print_table(HOST_COLUMNS, [line for each in findings for line in host_lines(each)])
    for each in findings:
        before = f"{each.watched.turn.words}: " if plan.several else ""
        for words in [*filter(None, [engine_words(each)]), *host_notes(each), *each.watched.notes, *_flagged(each)]:
            print(f"{before}{words}")


def _print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(width=width, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    longest_words = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).minimum
    if longest_words <= console.width:
        console.print(table)
        return
    # It would be words cut into pieces: a line per figure instead.
    for line in lines:
        for heading, value in zip(headings, line, strict=True):
            print(f"{heading}: {value}")
        print()


def _flagged(findings: Findings) -> list[str]:
    checks = findings.watched.plan.checks
    return [f"* {check.name}: {flag}" for check, flags in zip(checks, findings.flags, strict=True) for flag in flags]


def _keep(folder: Path, text: str, findings: Sequence[Findings], ticks: Sequence[Tick]) -> None:
    # Drawing takes a second to import, which only those who want a page should pay.
    from whimbrel.watch.page import write_page

    write_file(folder / "watch.json", text.encode())
    with writing_to(folder):
        write_series(pl.concat([each.watched.questions for each in findings]), folder / "questions.parquet")
        for name, films in films_by_series(findings[0].watched).items():
            write_series(films, folder / f"{name}.parquet")
        if findings[0].hosts:
            write_series(findings[-1].watched.hosts, folder / "ssh_hosts.parquet")
        for each in findings:
            _keep_engines(folder, each)
    complain(f"page: {write_page(folder, findings, ticks)}")


def _keep_engines(folder: Path, findings: Findings) -> None:
    watched, seen = findings.watched, findings.watched.engines
    if seen is not None:
        before = f"{watched.turn.words}." if watched.plan.several else ""
        events = [event.model_dump() for event in seen.events]
        (folder / f"{before}events.json").write_text(json.dumps(events, indent=1) + "\n")
        write_series(seen.job, folder / f"{before}job.parquet")
        write_series(seen.hosts, folder / f"{before}hosts.parquet")


def _exit_code(findings: Sequence[Findings], ticks: Sequence[Tick]) -> int:
    """The first command's that failed; 130 where the user ended it; 99 where a limit was crossed."""
    failed = [each.watched.ran.exit_code for each in findings if each.watched.ran is not None and each.watched.ran.exit_code]
    if failed:
        return failed[0]
    last = findings[-1].watched
    if last.interrupted and (last.plan.command or last.plan.for_s is not None):
        return _INTERRUPTED
    return 0 if all(tick.kept for tick in ticks) else _CROSSED
