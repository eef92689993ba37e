"""``predict``: what a move will cost, before it is made."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whimbrel.errors import UsageError
from whimbrel.predict.capacity import bandwidth_for, shortest_pause_s
from whimbrel.predict.curve import DirtyCurve
from whimbrel.predict.rounds import Prediction
from whimbrel.predict.rounds import predict as predict_rounds
from whimbrel.spec.curve import CurveSpec
from whimbrel.spec.document import load_json
from whimbrel.units import format_duration, format_rate, parse_duration, parse_rate


def predict(
    guest: Annotated[
        str | None, typer.Argument(help="What is deployed ('whimbrel deployed'); it is profiled where it runs. Or give --curve.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="HOST", help="With GUEST: the host it would be moved to.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="URI|HOST", help="The libvirt where any GUEST runs, or its name in hosts.yaml."),
    ] = None,
    link: Annotated[
        str | None, typer.Option(metavar="RATE", help="With --from: what the link gives, such as '10 Gbit/s'.")
    ] = None,
    seconds: Annotated[str, typer.Option("--for", metavar="DURATION", help="With GUEST: how long it is profiled.")] = "20 s",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With GUEST: an option of the move, as for 'migrate'.")
    ] = None,
    learn: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="With GUEST: results of earlier moves here ('run', 'migrate --out'); several times."),
    ] = None,
    curve: Annotated[Path | None, typer.Option(metavar="FILE", help="A guest's dirty curve (docs/predicting.md).")] = None,
    bandwidth: Annotated[
        list[str] | None,
        typer.Option(metavar="RATE", help="With --curve: what the link gives, such as 625MiB/s; may be given several times."),
    ] = None,
    pause: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DURATION",
            help="With --curve: the longest pause (250ms, or inf); may be given several times. [default: 300 ms]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predicts live moves: whether they end, how long they take, how long the guest stands still.

    Of a guest that is deployed, which is profiled for it, with intervals; or from a dirty curve, as a table.
    """
    if (guest is None) == (curve is None):
        raise UsageError("name a GUEST that is deployed, or a file with --curve")
    if guest is not None:
        if to is None or bandwidth or pause:
            raise UsageError("a GUEST is predicted for a host: give --to, and neither --bandwidth nor --pause")
        # Only this needs what a lab needs.
        from whimbrel.cli.predict_guest import predict_guest

        if from_ is not None:
            from whimbrel.cli.own_ways import predict_own, with_link
            from whimbrel.own.sides import sides_of

            source, destination = sides_of(from_, to)
            predict_own(guest, with_link(source, link), destination, set_ or [], learn or [], seconds, as_json)
            return
        predict_guest(guest, to, seconds, set_ or [], learn or [], as_json)
        return
    if curve is None or not bandwidth or to or set_ or learn or from_ or link:
        raise UsageError("a curve is predicted for a link: give --bandwidth, and neither --to, --from, --link, --set nor --learn")
    _predict_curve(curve, bandwidth, pause or ["300 ms"], as_json)


def _predict_curve(file: Path, bandwidth: list[str], pause: list[str], as_json: bool) -> None:
    rates = [_rate(text) for text in bandwidth]
    pauses = [_pause(text) for text in pause]
    guest = DirtyCurve(load_json(file, CurveSpec))
    found = [predict_rounds(guest, rate, limit_s) for rate in rates for limit_s in pauses]
    if as_json:
        print(json.dumps([_as_json(prediction) for prediction in found], indent=1))
        return
    _print_table(found)
    for limit_s in pauses:
        if math.isfinite(limit_s):
            print(f"a pause of {format_duration(limit_s)} needs more than {format_rate(bandwidth_for(guest, limit_s))}")
    for rate in rates:
        print(f"{format_rate(rate)} can reach any pause above {format_duration(shortest_pause_s(guest, rate))}, given time")


def _rate(text: str) -> float:
    try:
        rate = parse_rate(text)
    except ValueError as error:
        raise UsageError(f"--bandwidth: {error}") from error
    if rate == 0:
        raise UsageError("--bandwidth: nothing moves at a rate of 0", resolution="give a rate above 0")
    return rate


def _pause(text: str) -> float:
    if text.strip().lower() == "inf":
        return math.inf
    try:
        limit_s = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--pause: {error}, or inf for no limit") from error
    if limit_s == 0:
        raise UsageError("--pause: the last round always takes some time", resolution="give a pause above 0, or inf")
    return limit_s


def _as_json(found: Prediction) -> dict[str, object]:
    return {
        "bandwidth_bytes_per_s": found.bandwidth_bytes_per_s,
        # JSON has no infinity: null is no limit.
        "pause_limit_ms": found.pause_limit_s * 1000 if math.isfinite(found.pause_limit_s) else None,
        "converges": found.converges,
        "total_s": found.total_s,
        "rounds": found.rounds,
        "pause_ms": found.pause_s * 1000 if found.pause_s is not None else None,
        "bytes": found.sent_bytes,
    }


def _print_table(found: list[Prediction]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("bandwidth", "pause limit", "total", "rounds", "pause", "GiB sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        limit = format_duration(each.pause_limit_s) if math.isfinite(each.pause_limit_s) else "none"
        if each.total_s is None or each.pause_s is None or each.sent_bytes is None:
            table.add_row(format_rate(each.bandwidth_bytes_per_s), limit, "never", "-", "-", "-")
        else:
            table.add_row(format_rate(each.bandwidth_bytes_per_s), limit, format_duration(each.total_s), str(each.rounds),
                          format_duration(each.pause_s), f"{each.sent_bytes / 2**30:.2f}")  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
