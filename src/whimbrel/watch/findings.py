"""What a watch found: figures of every check, limits, and what is to be read with care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import polars as pl

from whimbrel.analysis.answers import PHASES, CheckFigures, figures_of
from whimbrel.analysis.engines import EngineFigures, engine_figures
from whimbrel.analysis.streams import StreamFigures, packet_figures, segment_figures
from whimbrel.analysis.thresholds import Tick
from whimbrel.analysis.watched_hosts import HostFigures, host_figures
from whimbrel.checks.check import HLS_BUFFER, NOT_SENT, RTMP_BUFFER, Check
from whimbrel.checks.registry import kind_listens
from whimbrel.observe.ssh_host import HOLE_S as SSH_HOLE_S
from whimbrel.units import format_duration
from whimbrel.watch.plan import Watched

# Questions later than this, and than half the time between two of them, make a latency say more of us than of the service.
_LATE_S = 0.01


@dataclass(frozen=True)
class Findings:
    """One move that was watched, its figures check by check, and for each check what makes its figures doubtful (``flags``).

    ``engines`` is what libvirt and QEMU said of it, where they were listened to; ``hosts`` is what was sampled by SSH.
    """

    watched: Watched
    figures: list[CheckFigures]
    flags: list[list[str]]
    engines: EngineFigures | None = None
    hosts: list[HostFigures] = field(default_factory=list)


def findings_of(watched: Watched) -> Findings:
    """Everything that follows from what was seen of one move."""
    figures, flags = [], []
    by_check = watched.questions.partition_by("check", as_dict=True)
    for position, check in enumerate(watched.plan.checks):
        frame = by_check.get((position,), watched.questions.clear())
        period_s = None if kind_listens(check) else 1 / check.rate_per_s
        found = figures_of(frame, watched.window, period_s, watched.holes)
        found = replace(found, stream=_stream(check, watched.films.get(position), watched))
        figures.append(found)
        of_check = _flags(check, found, watched.words[position], frame, watched.window.began_ns)
        flags.append(of_check + _stream_flags(found.stream, watched.holes))
    hosts = [host_figures(name, watched.hosts, watched.window, SSH_HOLE_S) for name in watched.plan.hosts]
    return Findings(watched, figures, flags, _engines(watched), hosts)


def _engines(watched: Watched) -> EngineFigures | None:
    if watched.engines is None:
        return None
    good = watched.questions.filter(pl.col("outcome").is_in(["good", "heard"])).sort("ended_ns")
    answers = [good.filter(pl.col("check") == at).get_column("ended_ns").to_list() for at in range(len(watched.plan.checks))]
    return engine_figures(watched.engines, watched.window.move, answers)


def _stream(check: Check, film: pl.DataFrame | None, watched: Watched) -> StreamFigures | None:
    if film is None:
        return None
    derive, buffer = (segment_figures, HLS_BUFFER) if check.kind == "hls" else (packet_figures, RTMP_BUFFER)
    return derive(film, check.duration_s("buffer", buffer), watched.since_ns, watched.window)


def films_by_series(watched: Watched) -> dict[str, pl.DataFrame]:
    """What all streams brought, by the name of the series; ``viewer`` is the check's position."""
    names = {"rtmp": "packets", "hls": "segments"}
    found: dict[str, list[pl.DataFrame]] = {}
    for position, film in watched.films.items():
        found.setdefault(names[watched.plan.checks[position].kind], []).append(film)
    return {name: pl.concat(films) for name, films in found.items()}


def _stream_flags(stream: StreamFigures | None, holes: list[tuple[int, int]]) -> list[str]:
    stalls = stream.moments if stream is not None else ()
    if any(from_ns < stall.to_s * 1e9 and to_ns > stall.from_s * 1e9 for stall in stalls for from_ns, to_ns in holes):
        return ["whimbrel itself stood still in a stall: that may be longer than it was"]
    return []


def _flags(check: Check, found: CheckFigures, words: dict[str, str], frame: pl.DataFrame, began_ns: int) -> list[str]:
    flags = []
    if found.not_sent:
        flags.append(f"{_questions(found.not_sent)} not sent, which is this machine's fault: {words.get(NOT_SENT, 'unknown')}")
    late = found.lateness_s
    if late is not None and late.p99 > max(_LATE_S, 0.5 / check.rate_per_s):
        flags.append(
            f"questions were sent late, which is this machine's fault: p99 {format_duration(late.p99)}, longest "
            f"{format_duration(late.max)}; latencies hold that too"
        )
    expected_s = 1 / check.rate_per_s
    if late is not None and found.gap_resolution_s is not None and found.gap_resolution_s > 2 * expected_s + _LATE_S:
        flags.append(
            "whimbrel itself stood still, or asked late, in the longest gap: "
            f"that is known to {format_duration(found.gap_resolution_s)} only"
        )
    if found.unanswered_at_end:
        flags.append(f"{_questions(found.unanswered_at_end)} not answered yet when the watch ended")
    if len(found.addresses) > 1:
        flags.append(f"several addresses answered: {_by_address(frame, found, began_ns)}")
    return flags


def _questions(count: int) -> str:
    return f"{count} questions were" if count != 1 else "1 question was"


def _by_address(frame: pl.DataFrame, found: CheckFigures, began_ns: int) -> str:
    """Each address with when it first answered and when it last did."""
    words = []
    for address in found.addresses:
        ended = frame.filter(pl.col("address") == address).get_column("ended_ns")
        first_s, last_s = ((moment_ns - began_ns) / 1e9 for moment_ns in (ended.to_numpy().min(), ended.to_numpy().max()))
        words.append(f"{address} from {first_s:.3f} s to {last_s:.3f} s")
    return ", ".join(words)


def ticks_json(ticks: Sequence[Tick]) -> list[dict[str, object]]:
    """Limits, as ``--json`` prints them."""
    return [
        {"check": tick.arm, "limit": tick.limit.words, "value": tick.value, "kept": tick.kept, "reason": tick.reason}
        for tick in ticks
    ]


def as_json(findings: Findings) -> dict[str, object]:
    """The object that ``--json`` prints, but for limits. Times are seconds since the watch began; what is not known is null."""
    watched = findings.watched
    ran, began_ns = watched.ran, watched.window.began_ns

    def since(moment_ns: int | None) -> float | None:
        return (moment_ns - began_ns) / 1e9 if moment_ns is not None else None

    return {
        "command": {
            "exit_code": ran.exit_code if ran else None,
            "started_s": since(ran.started_ns if ran else None),
            "ended_s": since(ran.ended_ns if ran else None),
        },
        "checks": [
            _check_json(check, found, flags, began_ns)
            for check, found, flags in zip(watched.plan.checks, findings.figures, findings.flags, strict=True)
        ],
        "began_at": watched.began_at.isoformat(timespec="milliseconds"),
        "watched_s": since(watched.window.ended_ns),
        "marks": [{"t_s": since(mark.t_ns), "text": mark.text} for mark in watched.marks],
        "notes": watched.notes,
        "engines": _engines_json(findings.engines, began_ns),
        "hosts": [_host_json(each, began_ns) for each in findings.hosts],
    }


def _host_json(host: HostFigures, began_ns: int) -> dict[str, object]:
    found = asdict(host)
    holes = [{"from_s": (from_ns - began_ns) / 1e9, "to_s": (to_ns - began_ns) / 1e9} for from_ns, to_ns in found.pop("holes_ns")]
    return {**found, "holes": holes}


def host_notes(findings: Findings) -> list[str]:
    """Notes when hosts were silent: nothing is known of them then."""
    began_ns = findings.watched.window.began_ns
    return [
        f"the host {host.name} was silent from {(from_ns - began_ns) / 1e9:.1f} s to {(to_ns - began_ns) / 1e9:.1f} s"
        for host in findings.hosts
        for from_ns, to_ns in host.holes_ns
    ]


def _engines_json(engines: EngineFigures | None, began_ns: int) -> dict[str, object] | None:
    if engines is None:
        return None

    def since(moment_ns: int | None) -> float | None:
        return (moment_ns - began_ns) / 1e9 if moment_ns is not None else None

    phases = [
        {"name": each.name, "from_s": since(each.from_ns), "to_s": since(each.to_ns), "length_s": each.length_s}
        for each in engines.phases
    ]
    passes = [
        {"number": each.number, "from_s": since(each.from_ns), "to_s": since(each.to_ns), "bytes": each.transferred_bytes}
        for each in engines.rounds
    ]
    return {**asdict(engines), "phases": phases, "rounds": passes}


def _check_json(check: Check, found: CheckFigures, flags: list[str], began_ns: int) -> dict[str, object]:
    def seconds(moment_ns: int) -> float:
        return (moment_ns - began_ns) / 1e9

    gap = found.longest_gap
    return {
        "name": check.name,
        "kind": check.kind,
        "url": check.url,
        "sent": found.sent,
        "failed": found.failed,
        "failures": found.failures,
        "longest_gap_s": found.longest_gap_s,
        "gap_resolution_s": found.gap_resolution_s,
        "usual_gap_s": found.usual_gap_s,
        "connections_lost": found.connections_lost,
        "first_good_after_s": found.first_good_after_s,
        "latency_s": {name: asdict(found.latency_s[name]) for name in PHASES},
        "longest_gap_at_least_s": found.longest_gap_at_least_s,
        "longest_gap_from_s": seconds(gap.from_ns) if gap is not None else None,
        "gap_stands_out": found.stands_out,
        "disturbances": [{"from_s": seconds(each.from_ns), "to_s": seconds(each.to_ns)} for each in found.disturbances],
        "answers_per_s": found.answers_per_s,
        "sent_late_s": asdict(found.lateness_s) if found.lateness_s is not None else None,
        "not_sent": found.not_sent,
        "unanswered_at_end": found.unanswered_at_end,
        "addresses": found.addresses,
        "stream": _stream_json(found.stream, began_ns),
        "flags": flags,
    }


def _stream_json(stream: StreamFigures | None, began_ns: int) -> dict[str, object] | None:
    if stream is None:
        return None
    moments = [{"from_s": each.from_s - began_ns / 1e9, "to_s": each.to_s - began_ns / 1e9} for each in stream.moments]
    return {**asdict(stream), "moments": moments}
