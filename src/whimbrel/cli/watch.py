"""``watch``: somebody else's move of somebody else's service, and what its users lose."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from whimbrel.checks.check import Check
from whimbrel.checks.url import options_text, parse_check
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.terminal import complain, notice
from whimbrel.errors import UsageError
from whimbrel.records.caller import make_folder, write_file, writing_to
from whimbrel.records.series import write_series
from whimbrel.watch.check_file import load_checks
from whimbrel.watch.findings import Findings, as_json, films_by_series, findings_of
from whimbrel.watch.limits import parse_limit
from whimbrel.watch.plan import Watched, WatchPlan
from whimbrel.watch.rows import columns_of, lines_of
from whimbrel.watch.watching import watch as watch_it

_CROSSED = 99
_INTERRUPTED = 130
_MOST_CHECKS = 10_000
_WIDTH_WITHOUT_TERMINAL = 160


def _urls(what: str) -> Any:
    return typer.Option(metavar="URL", help=f"Check {what}; several times.")


def watch(
    command: Annotated[list[str] | None, typer.Argument(metavar="[--] COMMAND", help="What makes the move.")] = None,
    check: Annotated[list[str] | None, _urls("by a URL of any kind: the scheme says which")] = None,
    http: Annotated[list[str] | None, _urls("an HTTP or HTTPS URL")] = None,
    tcp: Annotated[list[str] | None, _urls("HOST:PORT by TCP connections")] = None,
    icmp: Annotated[list[str] | None, _urls("a host by ICMP echo")] = None,
    dns: Annotated[list[str] | None, _urls("a name, or //SERVER/NAME, by DNS")] = None,
    ws: Annotated[list[str] | None, _urls("a WebSocket")] = None,
    rtmp: Annotated[list[str] | None, _urls("a stream by RTMP")] = None,
    hls: Annotated[list[str] | None, _urls("a stream by HLS, such as hls:https://tv.example/live.m3u8")] = None,
    exec_: Annotated[
        list[str] | None,
        typer.Option("--exec", metavar="COMMAND", help="Check by a shell command, each time anew; several times."),
    ] = None,
    checks: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Checks in a YAML file; several times.")] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Watch so long before the command; default: until all is steady, 30 s at most."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Watch so long after the command; default: until all is as before, 60 s at most."),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Without a command, watch so long; default: until Ctrl-C.")
    ] = None,
    mark: Annotated[bool, typer.Option("--mark", help="Take each line on stdin as a mark (SIGUSR1 always makes one).")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Start the command even if a check has no good answer.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT", help="What must hold, such as 'longest_gap_s < 0.5' or 'CHECK: failed <= 3'; several times."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep every question, the command's output, and a page, in this new folder."),
    ] = None,
    options: Annotated[bool, typer.Option("--options", help="List what may stand behind '#' in a URL.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; the command's output goes to stderr.")] = False,
) -> int:
    """Watches a service by URL while COMMAND moves it, and says what its users lose. Needs no root, lab or libvirt.

    A URL may end with '#name,rate=20,timeout=2s' and options of its kind ('--options' lists them). Ends with the command's
    exit code; if that is 0, with 99 when a limit was crossed.
    """
    if options:
        print(options_text())
        return 0
    given = {"http": http, "tcp": tcp, "icmp": icmp, "dns": dns, "ws": ws, "rtmp": rtmp, "hls": hls, "exec": exec_}
    found = [parse_check(url) for url in check or []]
    found += [parse_check(url, kind) for kind, urls in given.items() for url in urls or []]
    found += [each for file in checks or [] for each in load_checks(file)]
    _need_checks(found, command, for_, (before, after))
    limits = [parse_limit(text, found) for text in limit or []]
    if out is not None:
        make_folder(out)
        if any(out.iterdir()):
            raise UsageError(f"--out {out}: there is something in it", resolution="name a new folder")
    plan = WatchPlan(
        checks=tuple(found),
        command=tuple(command or ()),
        before_s=duration_s("--before", before) if before is not None else None,
        after_s=duration_s("--after", after) if after is not None else None,
        for_s=duration_s("--for", for_, 0.1) if for_ is not None else None,
        anyway=anyway,
        marks_from_stdin=mark,
        output_to_stderr=as_json,
        keep_output_in=out,
    )
    findings = findings_of(watch_it(plan, notice()), limits)
    _tell(findings, as_json)
    if out is not None:
        _keep(out, findings)
    return _exit_code(findings)


def _need_checks(found: list[Check], command: list[str] | None, for_: str | None, around: Sequence[str | None]) -> None:
    if not found:
        raise UsageError("nothing is to be checked", resolution="whimbrel watch --http https://shop.example/ -- COMMAND")
    if len(found) > _MOST_CHECKS:
        raise UsageError(f"{len(found)} checks are more than {_MOST_CHECKS}")
    if command and for_ is not None:
        raise UsageError("--for says how long to watch without a command", resolution="with one, use --before and --after")
    if not command and any(text is not None for text in around):
        raise UsageError("--before and --after are about a command, and there is none", resolution="without one, use --for")


def _tell(findings: Findings, as_json_wanted: bool) -> None:
    if as_json_wanted:
        print(json.dumps(as_json(findings), indent=1))
        return
    for tick in findings.ticks:
        print(tick.words)
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(width=width, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = columns_of(findings, wide=False)
    table.add_column("check", justify="left", overflow="fold")
    for column in columns:
        table.add_column(column.heading, justify="right", overflow="fold")
    for line in lines_of(findings, columns):
        table.add_row(*line)
    console.print(table)
    for words in [*findings.watched.notes, *_flagged(findings)]:
        print(words)


def _flagged(findings: Findings) -> list[str]:
    checks = findings.watched.plan.checks
    return [f"* {check.name}: {flag}" for check, flags in zip(checks, findings.flags, strict=True) for flag in flags]


def _keep(folder: Path, findings: Findings) -> None:
    # Drawing takes a second to import, which only those who want a page should pay.
    from whimbrel.watch.page import write_page

    write_file(folder / "watch.json", (json.dumps(as_json(findings), indent=1) + "\n").encode())
    with writing_to(folder):
        write_series(findings.watched.questions, folder / "questions.parquet")
        for name, films in films_by_series(findings.watched).items():
            write_series(films, folder / f"{name}.parquet")
    complain(f"page: {write_page(folder, findings)}")


def _exit_code(findings: Findings) -> int:
    watched: Watched = findings.watched
    if watched.ran is not None and watched.ran.exit_code:
        return watched.ran.exit_code
    if watched.interrupted and (watched.plan.command or watched.plan.for_s is not None):
        return _INTERRUPTED
    return 0 if all(tick.kept for tick in findings.ticks) else _CROSSED
