"""The figures of a check by their names, as limits and the statistics of several moves ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from whimbrel.analysis.answers import PHASES, CheckFigures

Read = Callable[[CheckFigures], float | None]
_STREAM = "stream."


def _latency(phase: str, share: str) -> Read:
    return lambda found: getattr(found.latency_s[phase], share)


def _of_stream(name: str) -> Read:
    return lambda found: getattr(found.stream, name, None)


def _answers(phase: str) -> Read:
    return lambda found: found.answers_per_s[phase]


FIGURES: Mapping[str, Read] = {
    "longest_gap_s": lambda found: found.longest_gap_s,
    "failed": lambda found: found.failed,
    "failed_share": lambda found: found.failed / found.sent if found.sent else None,
    "connections_lost": lambda found: found.connections_lost,
    "first_good_after_s": lambda found: found.first_good_after_s,
    **{
        f"{_STREAM}{name}": _of_stream(name)
        for name in ("stalls", "stalled_s", "stalling_mos", "startup_s", "missing_segments", "missed_s")
    },
    **{f"latency_s.{phase}.{share}": _latency(phase, share) for phase in PHASES for share in ("p50", "p95", "p99", "max")},
    **{f"answers_per_s.{phase}": _answers(phase) for phase in PHASES},
}
# Of what had not ended with the watch it is known how much it was at least.
_AT_LEAST: Mapping[str, Read] = {
    "longest_gap_s": lambda found: found.longest_gap_at_least_s,
    f"{_STREAM}stalled_s": _of_stream("stalled_at_least_s"),
}


def at_least(name: str, found: CheckFigures) -> float | None:
    """What a figure is at least, where it is not known itself; None where that is not known either."""
    if FIGURES[name](found) is not None or name not in _AT_LEAST:
        return None
    return _AT_LEAST[name](found)


def can_have(name: str, found: CheckFigures) -> bool:
    """Whether a check can have a figure at all: stalls are of those that play a stream."""
    return not name.startswith(_STREAM) or found.stream is not None
