"""What a watched host took before, during and after a move, from its samples. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from whimbrel.analysis.answers import PHASES, Window
from whimbrel.analysis.counters import counter_change, counter_growth


@dataclass(frozen=True)
class HostFigures:
    """A host's processors in use by phase, and what it sent and received, and the most memory it used, during the move.

    What was not seen is None; ``holes_ns`` are when the host was silent, from its last sample to its next.
    """

    name: str
    cpu_cores: dict[str, float | None]
    cpu_s: float | None
    memory_bytes: dict[str, int | None]
    sent_bytes: int | None
    received_bytes: int | None
    holes_ns: list[tuple[int, int]]


def host_figures(name: str, samples: pl.DataFrame, window: Window, hole_s: float) -> HostFigures:
    """Of one host's rows of ``series.HOSTS_SCHEMA``; samples further apart than ``hole_s`` leave a hole.

    A figure of the move that a hole falls into is None.
    """
    rows = samples.filter(pl.col("subject") == name).sort("t_ns")
    moments = np.concatenate(([window.began_ns], rows.get_column("t_ns").to_numpy(), [window.ended_ns]))
    moments = np.sort(moments[(moments >= window.began_ns) & (moments <= window.ended_ns)])
    holes = [(int(moments[at]), int(moments[at + 1])) for at in np.flatnonzero(np.diff(moments) > hole_s * 1e9)]

    def grown(column: str) -> float | None:
        if any(from_ns < window.move[1] and to_ns > window.move[0] for from_ns, to_ns in holes):
            return None
        return counter_growth(rows, name, column, *window.move)

    sent, received = grown("net_sent_bytes"), grown("net_received_bytes")
    return HostFigures(
        name=name,
        cpu_cores={phase: _cores(rows, name, *window.phase(phase)) for phase in PHASES},
        cpu_s=grown("cpu_s"),
        memory_bytes={phase: _most(rows, *window.phase(phase)) for phase in PHASES},
        sent_bytes=round(sent) if sent is not None else None,
        received_bytes=round(received) if received is not None else None,
        holes_ns=holes,
    )


def _cores(rows: pl.DataFrame, name: str, from_ns: int, to_ns: int) -> float | None:
    change = counter_change(rows, name, "cpu_s", from_ns, to_ns)
    return change[0] / change[1] if change is not None and change[1] > 0 else None


def _most(rows: pl.DataFrame, from_ns: int, to_ns: int) -> int | None:
    values = rows.filter(pl.col("t_ns").is_between(from_ns, to_ns)).get_column("memory_bytes").drop_nulls().to_numpy()
    return int(values.max()) if len(values) else None
