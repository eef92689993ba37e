"""The options by which something is seen while it happens, and what stands behind them; ``serve`` shows what is finished."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from whimbrel.cli.terminal import complain
from whimbrel.errors import UsageError
from whimbrel.events import Bus
from whimbrel.live.address import Address
from whimbrel.live.beside import Beside, Wanted
from whimbrel.live.spans import need_sdk

# On this machine alone, at a port that is free.
ANYWHERE = "127.0.0.1:0"
_OPTIONAL = ("--live", "--metrics")
_MOST_SAID = 3
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):\d{1,5}")

Live = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="[ADDRESS:PORT]",
        help="Serve a page that follows while it happens; without an address on this machine alone.",
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", metavar="[ADDRESS:PORT]", help="Serve metrics for Prometheus while it happens."),
]
MetricsFile = Annotated[
    Path | None,
    typer.Option("--metrics-file", metavar="FILE", help="Write metrics into this file (*.prom), for node_exporter."),
]

SpansTo = Annotated[
    str | None,
    typer.Option("--spans", metavar="URL", help="Send a trace of each move to a collector, by OTLP over HTTP (port 4318)."),
]


class WithOptionalValues(TyperCommand):
    """A command whose ``--live`` and ``--metrics`` may stand without a value, whatever comes after them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses as usual, once the values that are left out are filled in."""
        flags = {name for param in self.params if getattr(param, "is_flag", False) for name in param.opts} | {"--help"}
        return super().parse_args(ctx, filled(args, flags, ctx.allow_interspersed_args))


def filled(args: Sequence[str], flags: Collection[str], interspersed: bool) -> list[str]:
    """The words of a command line with a value for each optional one; ``flags`` are options that never have one.

    Without ``interspersed`` the first word that is no option begins what is somebody else's.
    """
    found, rest = list[str](), list(args)
    while rest:
        word = rest.pop(0)
        if word == "--" or not (interspersed or word.startswith("-")):
            return [*found, word, *rest]
        if word in _OPTIONAL and not (rest and _ADDRESS.fullmatch(rest[0])):
            word = f"{word}={ANYWHERE}"
        found.append(word)
        if word.startswith("--") and "=" not in word and word not in flags and rest:
            found.append(rest.pop(0))
    return found


def wanted(live: str | None, metrics: str | None, metrics_file: Path | None, spans: str | None = None) -> Wanted:
    """What the options ask for; UsageError when one of them cannot be."""
    if metrics_file is not None:
        if metrics_file.suffix != ".prom":
            raise UsageError(f"--metrics-file {metrics_file}: node_exporter reads files that end in .prom")
        if not metrics_file.absolute().parent.is_dir():
            raise UsageError(f"--metrics-file {metrics_file}: there is no folder {metrics_file.absolute().parent}")
    if spans is not None:
        if not spans.startswith(("http://", "https://")):
            raise UsageError(f"--spans {spans}: it is no URL", resolution="such as --spans http://localhost:4318")
        need_sdk()
    return Wanted(
        Address.parse(live, "--live") if live is not None else None,
        Address.parse(metrics, "--metrics") if metrics is not None else None,
        metrics_file,
        spans,
    )


@contextmanager
def beside(asked: Wanted, title: str) -> Iterator[Beside | None]:
    """What is to be seen, made beside us, its addresses said on stderr; None where nothing is asked for."""
    if not asked:
        yield None
        return
    with Beside(asked, title) as made:
        for what, url in made.urls.items():
            complain(f"{what}: {url}")
        yield made
    for line in made.said[-_MOST_SAID:]:
        complain(f"live view: {line}")


@contextmanager
def observed(seen: Beside | None = None) -> Iterator[Bus]:
    """A bus that is also seen there. When it is left its observers have had everything, or what they missed is said."""
    bus = Bus()
    if seen is not None:
        bus.subscribe("live view", seen.observe)
    try:
        with bus:
            yield bus
    finally:
        for complaint in bus.complaints:
            complain(complaint)
