"""``watch``: somebody else's move of somebody else's service, and what its users lose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from whimbrel.analysis.thresholds import Tick
from whimbrel.checks.check import Check
from whimbrel.checks.url import options_text, parse_check
from whimbrel.cli.live import Live, Metrics, MetricsFile, SpansTo, beside, observed, wanted
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.screen import Above, own_screen
from whimbrel.cli.showing import MoveShown
from whimbrel.cli.terminal import complain
from whimbrel.cli.watched import tell
from whimbrel.errors import UsageError
from whimbrel.events import Bus
from whimbrel.records.caller import make_folder
from whimbrel.report.content import PAGE
from whimbrel.spec.fields import check_host_name
from whimbrel.watch.check_file import load_checks
from whimbrel.watch.findings import Findings, findings_of
from whimbrel.watch.limits import parse_limit, ticks_of
from whimbrel.watch.plan import WatchPlan
from whimbrel.watch.several import counting
from whimbrel.watch.watching import watch as watch_it

_MOST_CHECKS = 10_000


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
    repeat: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Run COMMAND N times, and give medians with their intervals.")
    ] = None,
    back: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="What moves it back after each COMMAND, by the shell; measured as well."),
    ] = None,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, max=100, metavar="N", help="Move N times more, at first, which do not count.")
    ] = 0,
    libvirt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URI", help="Listen to a host's libvirt about '--guest', whoever moves it; twice or more."),
    ] = None,
    guest: Annotated[str | None, typer.Option(metavar="DOMAIN", help="The guest that '--libvirt' is asked about.")] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="[USER@]HOST", help="Sample a host's CPU, memory and network by ssh; several times."),
    ] = None,
    container: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Mark what podman, docker or runc says of a container of this machine; several times."),
    ] = None,
    watch_: Annotated[
        bool,
        typer.Option("--watch", help="Show how it goes, in place on a terminal; the command's output goes above it, by lines."),
    ] = False,
    live: Live = None,
    metrics: Metrics = None,
    metrics_file: MetricsFile = None,
    spans: SpansTo = None,
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
    _need_moves(command, repeat, back, warm_up)
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
        back=("sh", "-c", back) if back is not None else (),
        repeat=repeat if repeat is not None else 1,
        warm_up=warm_up,
        libvirt=_libvirt(libvirt or [], guest, command),
        guest=guest or "",
        hosts=tuple(dict.fromkeys(host or [])),
        containers=tuple(dict.fromkeys(container or [])),
    )
    with ExitStack() as stack, beside(wanted(live, metrics, metrics_file, spans), "watch") as seen:
        if seen is not None and seen.makes_spans:
            plan = replace(plan, new_span=seen.trace_parent.within)
        with observed(seen) as bus, _shown(plan, bus, watch_) as shown:
            findings = [findings_of(watched) for watched in watch_it(shown, partial(_say, bus), bus)]
        ticks = ticks_of(limits, plan.checks, [each.figures for each in counting(findings) or findings])
        code = tell(plan, findings, ticks, as_json)
        if seen is not None and live is not None:
            seen.report = _page(out, findings, ticks, stack)
    return code


def _page(out: Path | None, findings: Sequence[Findings], ticks: Sequence[Tick], stack: ExitStack) -> Path:
    """The page of what was found: it is in ``out``, or made for as long as ``stack`` is entered."""
    if out is not None:
        return out.absolute() / PAGE
    # Drawing takes a second to import, which only those who want a page should pay.
    from whimbrel.watch.page import write_page

    return write_page(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whimbrel-"))), findings, ticks)


@contextmanager
def _shown(plan: WatchPlan, bus: Bus, watch: bool) -> Iterator[WatchPlan]:
    """While it is entered ``plan`` can be seen on the terminal where that is wanted, as the plan that is given says."""
    if not watch:
        yield plan
        return
    with own_screen() as screen, ExitStack() as stack:
        bus.subscribe("terminal ('--watch')", MoveShown(screen, throughout=screen.console.is_interactive).observe)
        if not screen.console.is_interactive:
            yield plan
            return
        above = Above(screen.console)
        stack.callback(above.end)
        folder = plan.keep_output_in or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whimbrel-")))
        yield replace(plan, keep_output_in=folder, show_output=above.take)


def _say(bus: Bus, text: str) -> None:
    complain(text)
    bus.step(text)


def _need_checks(found: list[Check], command: list[str] | None, for_: str | None, around: Sequence[str | None]) -> None:
    if not found:
        raise UsageError("nothing is to be checked", resolution="whimbrel watch --http https://shop.example/ -- COMMAND")
    if len(found) > _MOST_CHECKS:
        raise UsageError(f"{len(found)} checks are more than {_MOST_CHECKS}")
    if command and for_ is not None:
        raise UsageError("--for says how long to watch without a command", resolution="with one, use --before and --after")
    if not command and any(text is not None for text in around):
        raise UsageError("--before and --after are around a command, and none is given", resolution="without one, use --for")


def _need_moves(command: list[str] | None, repeat: int | None, back: str | None, warm_up: int) -> None:
    if not command and (repeat is not None or back is not None or warm_up):
        raise UsageError("--repeat, --back and --warm-up are about a command, and none is given")
    if back is not None and not back.strip():
        raise UsageError("--back names no command")
    if warm_up and repeat is None:
        raise UsageError("--warm-up: with one move there is nothing to warm up for", resolution="say how often with --repeat")


def _libvirt(given: list[str], guest: str | None, command: list[str] | None) -> dict[str, str]:
    """The URIs of hosts by their names."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, uri = text.partition("=")
        try:
            check_host_name(name)
        except ValueError as error:
            raise UsageError(
                f"--libvirt {text!r}: {error}", resolution="write NAME=URI, such as a=qemu+ssh://host/system"
            ) from error
        if not equals or not uri:
            raise UsageError(f"--libvirt {text!r} names no URI", resolution="write NAME=URI, such as a=qemu+ssh://host/system")
        if name in found:
            raise UsageError(f"--libvirt: two hosts are called {name!r}")
        found[name] = uri
    if bool(found) != (guest is not None):
        raise UsageError("--libvirt and --guest belong together: hosts, and the guest that moves between them")
    if len(found) == 1:
        raise UsageError("--libvirt: one host is named; a move has two", resolution="name both: --libvirt a=URI --libvirt b=URI")
    if found and not command:
        raise UsageError("--libvirt listens while a command moves the guest, and no command is given")
    return found
