"""What is known just now of a move, a campaign or a watch, folded from what is published. Pure.

A picture has *sections*, each replaced as a whole when it changes, and *series*, which grow. Whoever was told of it up to some
position is told only what is new since: that may be much or little, so a reader who was away has lost nothing.
Times are seconds since the picture began, on the monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whimbrel.analysis.phases import STORAGE, Moment, Phase, container_phases, find, pre_copy_phases, storage_phase
from whimbrel.events import (
    FIGURES,
    MORE_PLANNED,
    NOTE,
    PLANNED,
    PREDICTED,
    STEP,
    TRIAL_BEGUN,
    TRIAL_DONE,
    WATCHED,
    Published,
    Sample,
)
from whimbrel.live.strips import PLAYERS, Strips
from whimbrel.predict.outlook import expected_end, readings_of
from whimbrel.records.trial import Event

_MOST_POINTS = 2400
_LOOKS_FOR_OUTLOOK = 40
_PAGE_BYTES = 4096
_HOST_COUNTERS = ("cpu_s", "net_received_bytes", "net_sent_bytes", "disk_read_bytes", "disk_written_bytes")
_LAST_STEPS = 8
# The one phase that is known of a move that a command makes.
COMMAND = "command"

Values = Mapping[str, Any]


@dataclass
class Series:
    """Columns of numbers, the first of them time; thinned when it grows too long, and then told anew (``epoch``)."""

    columns: tuple[str, ...]
    rows: list[list[float | None]] = field(default_factory=list)
    epoch: int = 0

    def append(self, *row: float | None) -> None:
        """Adds a point at the end."""
        self.rows.append(list(row))
        if len(self.rows) > _MOST_POINTS:
            self.rows = self.rows[::2]
            self.epoch += 1

    def clear(self) -> None:
        """Forgets what it shows: from here on that is something else."""
        self.rows = []
        self.epoch += 1


Position = dict[str, tuple[int, int]]


class Picture:
    """Folds what is published; it begins at ``began_ns`` of the monotonic clock; the wall clock is ``offset_ns`` ahead."""

    def __init__(self, title: str, began_ns: int, offset_ns: int) -> None:
        self._began_ns = began_ns
        self._offset_ns = offset_ns
        self.sections: dict[str, Any] = {"about": {"title": title, "ended": False, "report": False}, "steps": []}
        self._versions: dict[str, int] = dict.fromkeys(self.sections, 1)
        self.series: dict[str, Series] = {}
        self._events: list[Event] = []
        self._way: tuple[str | None, str | None] | None = None
        self._job: deque[Values] = deque(maxlen=_LOOKS_FOR_OUTLOOK)
        self._counters: dict[str, Values] = {}
        self._strips = Strips(self.seconds)

    def seconds(self, t_ns: int) -> float:
        """A moment of the monotonic clock on the picture's own."""
        return round((t_ns - self._began_ns) / 1e9, 4)

    def take(self, news: Published) -> None:
        """Takes in one event or sample."""
        if isinstance(news, Sample):
            self._take_sample(news)
        else:
            self._take_event(news)

    def end(self, report: bool) -> None:
        """Nothing more will come; ``report`` says whether there is a page of the whole."""
        self._set("about", {**self.sections["about"], "ended": True, "report": report})

    def since(self, position: Position) -> tuple[dict[str, Any], Position]:
        """What is new since a position ({} at first), and the position after that; nothing new gives an empty dict."""
        now: Position = {name: (version, 0) for name, version in self._versions.items()}
        changed = {name: self.sections[name] for name, mark in now.items() if position.get(name) != mark}
        grown: dict[str, Any] = {}
        for name, series in self.series.items():
            now[f"series {name}"] = mark = (series.epoch, len(series.rows))
            epoch, known = position.get(f"series {name}", (-1, 0))
            if (epoch, known) != mark:
                anew = epoch != series.epoch
                grown[name] = {"columns": series.columns, "anew": anew, "rows": series.rows if anew else series.rows[known:]}
        message = {key: value for key, value in (("sections", changed), ("series", grown)) if value}
        return message, now

    def _set(self, name: str, value: Any) -> None:
        self.sections[name] = value
        self._versions[name] = self._versions.get(name, 0) + 1

    def _series(self, name: str, *columns: str) -> Series:
        return self.series.setdefault(name, Series(columns))

    def _take_event(self, event: Event) -> None:
        handler = _HANDLERS.get(event.name) if event.source == "whimbrel" else None
        if handler is not None:
            handler(self, event)
        elif self._way is not None:
            self._events.append(event)
            self._renew_move()
        if event.source in PLAYERS:
            self._strips.take_event(event)
            self._set("strips", self._strips.shown())

    def _on_step(self, event: Event) -> None:
        said = {"t": self.seconds(event.seen_ns), "text": event.data["text"]}
        self._set("steps", [*self.sections["steps"], said][-_LAST_STEPS:])

    def _on_watched(self, event: Event) -> None:
        """A move is about to begin: what was shown of the one before goes."""
        self._way = event.data["source"], event.data["destination"]
        self._events = []
        self._job.clear()
        for name in ("job", "expected"):
            if name in self.series:
                self.series[name].clear()
        self._set("move", {"source": self._way[0], "destination": self._way[1], "phases": [], "rounds": []})

    def _on_predicted(self, event: Event) -> None:
        self._set("predicted", dict(event.data))

    def _on_figures(self, event: Event) -> None:
        self._set("figures", dict(event.data))

    def _on_planned(self, event: Event) -> None:
        trials = [{**trial, "state": "done" if trial["made"] else "to come"} for trial in event.data["trials"]]
        self._set("campaign", {"trials": trials})

    def _trial(self, order: int, **news: Any) -> None:
        trials = self.sections.get("campaign", {"trials": []})["trials"]
        self._set("campaign", {"trials": [each | news if each["order"] == order else each for each in trials]})

    def _on_trial_begun(self, event: Event) -> None:
        self._strips = Strips(self.seconds)
        self._set("strips", {})
        self._trial(event.data["order"], state="now")

    def _on_trial_done(self, event: Event) -> None:
        self._trial(event.data["order"], state="done" if event.data["succeeded"] else "failed", result=event.data["result"])

    def _on_more_planned(self, event: Event) -> None:
        more = [{**trial, "state": "to come"} for trial in event.data["trials"]]
        self._set("campaign", {"trials": [*self.sections.get("campaign", {"trials": []})["trials"], *more]})

    def phases(self) -> list[Phase]:
        """Of the move that is shown, each phase that has begun; QEMU's stamps as if all hosts had this machine's clock."""
        moments = sorted((Moment(event, self._moment_ns(event)) for event in self._events), key=lambda moment: moment.t_ns)
        source, destination = self._way or (None, None)
        if source is None:
            # All that is known of a command is that it runs.
            called, returned = (find(moments, "whimbrel", None, name) for name in ("move called", "move returned"))
            return [Phase(COMMAND, called, returned)] if called is not None else []
        if destination is None:
            arrived = (event.host for event in self._events if event.name == "RESUME" and event.host != source)
            destination = next(arrived, None) or ""
        if any(event.source == "carrier" for event in self._events):
            found = container_phases(moments, source, destination, None)
        else:
            found = pre_copy_phases(moments, source, destination, None)
            found.insert(1, storage_phase(moments, source))
        return [phase for phase in found if phase.from_ns is not None]

    def rounds(self) -> list[tuple[int, int]]:
        """Of the move that is shown, the number of each round that has begun, and when it did, in ns of the monotonic clock."""
        return [
            (int(event.data["pass"]), self._moment_ns(event))
            for event in self._events
            if event.name == "MIGRATION_PASS" and self._way is not None and event.host == self._way[0]
        ]

    def _moment_ns(self, event: Event) -> int:
        return event.seen_ns if event.realtime_ns is None else event.realtime_ns - self._offset_ns

    def _renew_move(self) -> None:
        phases = [
            {"name": phase.name, "from": self.seconds(phase.from_ns or 0),
             "to": None if phase.to_ns is None else self.seconds(phase.to_ns)}
            for phase in self.phases()
            if phase.name != STORAGE or phase.to_ns != phase.from_ns
        ]  # fmt: skip
        rounds = [{"number": number, "from": self.seconds(from_ns)} for number, from_ns in self.rounds()]
        called = next((event.seen_ns for event in self._events if event.name == "move called"), None)
        returned = next((event.seen_ns for event in self._events if event.name == "move returned"), None)
        self._set("move", {
            **self.sections["move"], "phases": phases, "rounds": rounds,
            "called": None if called is None else self.seconds(called),
            "returned": None if returned is None else self.seconds(returned),
        })  # fmt: skip

    def _take_sample(self, sample: Sample) -> None:
        if sample.source == "job":
            self._take_job(sample)
        elif sample.source == "sampler":
            self._take_host(sample.values)
        else:
            self._strips.take_sample(sample)
            self._set("strips", self._strips.shown())

    def _take_job(self, sample: Sample) -> None:
        row = sample.values
        if not row["transferred_bytes"] and not row["remaining_bytes"]:
            # Nothing has been sent, and what is left is not known yet: libvirt says 0.
            return
        self._job.append(row)
        dirty = row["dirty_pages_per_s"]
        t = self.seconds(sample.t_ns)
        self._series("job", "t", "sent_bytes", "left_bytes", "dirty_bytes_per_s").append(
            t, row["transferred_bytes"], row["remaining_bytes"], None if dirty is None else dirty * _PAGE_BYTES
        )
        end = expected_end(readings_of(self._job))
        self._series("expected", "t", "least_s", "middle_s", "most_s").append(t, end.least_s, end.middle_s, end.most_s)
        self._set("job", {**row, "t": t, "left_s": end.middle_s, "least_s": end.least_s, "most_s": end.most_s,
                          "converges": end.converges})  # fmt: skip

    def _take_host(self, row: Values) -> None:
        name, t = str(row["subject"]), self.seconds(int(row["t_ns"]))
        before, self._counters[name] = self._counters.get(name), row
        if before is None or row["t_ns"] <= before["t_ns"]:
            return
        span_s = (row["t_ns"] - before["t_ns"]) / 1e9
        rates = [rate(before[counter], row[counter], span_s) for counter in _HOST_COUNTERS]
        columns = ("t", "cpu", "net_in_bytes_per_s", "net_out_bytes_per_s", "disk_read_bytes_per_s", "disk_written_bytes_per_s")
        self._series(f"host {name}", *columns, "memory_bytes").append(t, *rates, row["memory_bytes"])


def rate(before: float | None, now: float | None, span_s: float) -> float | None:
    """What a counter grew by each second; None where it was not read."""
    return None if before is None or now is None else (now - before) / span_s


_HANDLERS = {
    STEP: Picture._on_step, NOTE: Picture._on_step, WATCHED: Picture._on_watched, PREDICTED: Picture._on_predicted,
    FIGURES: Picture._on_figures, PLANNED: Picture._on_planned, TRIAL_BEGUN: Picture._on_trial_begun,
    TRIAL_DONE: Picture._on_trial_done, MORE_PLANNED: Picture._on_more_planned,
}  # fmt: skip
