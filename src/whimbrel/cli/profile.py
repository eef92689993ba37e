"""``profile``: how a deployed service dirties its memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from whimbrel.api.moving import profile as profile_it
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.own import From, Guest
from whimbrel.cli.quantities import duration_s
from whimbrel.cli.terminal import complain
from whimbrel.deployment.deployed import find
from whimbrel.errors import UsageError
from whimbrel.observe.dirty_profile import USUAL_SAMPLE, Profiled, expected_s
from whimbrel.own.predicting import profile_own
from whimbrel.own.sides import side_of
from whimbrel.own.standing import Side
from whimbrel.predict.profile import PAGE_BYTES
from whimbrel.records.caller import write_file
from whimbrel.spec.fields import HostName
from whimbrel.system.root import need_root
from whimbrel.units import format_bytes, format_duration, format_rate

# Two windows, also where only whole seconds can be had.
_LEAST_S = 2.0


def profile(
    name: Guest,
    from_: From = None,
    seconds: Annotated[str, typer.Option("--for", metavar="DURATION", help="The longest window that is measured.")] = "60 s",
    sample: Annotated[
        int, typer.Option(min=256, max=1 << 20, help="How many pages are looked at, drawn at random.")
    ] = USUAL_SAMPLE,
    to: Annotated[
        str | None, typer.Option(metavar="HOST", help="The host to which the link is tried; default: the first it is not on.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the curve, for 'predict --curve'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with errors.")] = False,
) -> None:
    """Measures how many different pages a running guest dirties in windows of growing length, and what the link gives.

    A service that is deployed, or, with --from, any guest.

    The guest goes on meanwhile. On this machine a sample of its pages is read some fifty times; on hosts by URI QEMU calculates.
    """
    if from_ is not None:
        if to is not None or sample != USUAL_SAMPLE:
            raise UsageError("with --from its QEMU calculates, and no link is tried: give neither --sample nor --to")
        found = profile_own_with_bar(name, side_of(from_), seconds)
    else:
        found = profile_with_bar(name, to, seconds, sample)
    if out is not None:
        write_file(out, f"{found.profile.as_json()}\n".encode())
    _tell(found, as_json)


def profile_with_bar(name: str, to: HostName | None, seconds: str, sample: int) -> Profiled:
    """Profiles what is deployed, and shows how far that has come; UsageError when ``seconds`` is no duration."""
    need_root("profiling a guest")
    deployment = find(name)
    guard = partial(Interrupts, then="stopping")
    with bar_for(name, seconds, by_qemu=deployment.spec.hosts is not None) as (longest_s, told):
        return profile_it(name, seconds=longest_s, sample=sample, to=to, told=told, guard=guard)


@contextmanager
def bar_for(name: str, seconds: str, by_qemu: bool) -> Iterator[tuple[float, Callable[[float], None]]]:
    """The duration, and who is told how much of it is over; UsageError when ``seconds`` is no duration."""
    longest_s = duration_s("--for", seconds, _LEAST_S)
    takes_s = expected_s(longest_s, by_qemu)
    complain(f"profiling {name} takes {format_duration(takes_s)}; it goes on meanwhile")
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task("profiling", total=takes_s)
        yield longest_s, lambda over_s: bar.update(task, completed=over_s)


def profile_own_with_bar(name: str, side: Side, seconds: str) -> Profiled:
    """The same of a guest of the user's own."""
    with profiling_own(name, seconds) as (longest_s, told):
        return profile_own(name, side, longest_s, told)


@contextmanager
def profiling_own(name: str, seconds: str) -> Iterator[tuple[float, Callable[[float], None]]]:
    """As ``bar_for``, while its QEMU calculates; Ctrl-C ends it."""
    with Interrupts(None, "stopping"), bar_for(name, seconds, by_qemu=True) as found:
        yield found


def _tell(found: Profiled, as_json: bool) -> None:
    profile = found.profile
    if as_json:
        content = {
            "host": found.host,
            "curve": profile.curve.model_dump(mode="json"),
            "windows": [asdict(window) for window in profile.windows],
            "link_bytes_per_s": found.link_bytes_per_s,
            "took_s": found.took_s,
            "cpu_s": found.cpu_s,
        }
        print(json.dumps(content, indent=1))
        return
    print(f"{format_bytes(profile.pages_total * PAGE_BYTES)} on host {found.host}, of which"
          f" {format_bytes(profile.pages_zero * PAGE_BYTES)} are zeros")  # fmt: skip
    print("window    different pages dirtied    as a rate")
    for window in profile.windows:
        rate = format_bytes(window.dirty_pages * PAGE_BYTES / window.window_s)
        print(f"{format_duration(window.window_s):8s}  {window.dirty_pages:10.0f} +- {window.error_pages:<10.0f}  {rate}/s")
    rate_bytes_per_s = found.link_bytes_per_s
    said = "was not tried" if rate_bytes_per_s is None else f"gave {format_rate(rate_bytes_per_s)}"
    print(f"the link to the other host {said}")
    print(f"took {format_duration(found.took_s)}, {found.cpu_s:.2f} s of CPU")
