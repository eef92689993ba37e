"""What a terminal shows while something is under way: observers of the bus."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from whimbrel.cli.screen import Screen
from whimbrel.cli.streams import say_at_once
from whimbrel.cli.terminal import Steps, notice
from whimbrel.events import MORE_PLANNED, NOTE, PLANNED, STEP, TRIAL_BEGUN, TRIAL_DONE, Bus, Published, Sample
from whimbrel.live.picture import Picture
from whimbrel.plain_text import visible
from whimbrel.records.trial import Event
from whimbrel.report.problems import shorten
from whimbrel.system.clock import read_pair
from whimbrel.units import format_bytes, format_duration

# So many strips fit beside the rest on any terminal.
_MOST_STRIPS = 8
_STATES = {"good": ("━", "green"), "silent": ("·", "yellow"), "failed": ("x", "red")}
_NAME_WIDTH = 14
_CELL_S, _ROUNDED_S = 0.2, 0.001


def say_steps(news: Sequence[Published]) -> None:
    """Says each step on stderr, for commands without a bar."""
    say = notice()
    for each in news:
        if isinstance(each, Event) and each.name in (STEP, NOTE):
            say(each.data["text"])


class MoveShown:
    """Shows how a move goes, at most every ``every_s``: on a ``screen`` of a terminal, as a line each time elsewhere.

    With ``throughout`` also what is seen before the move is called and after it has returned.
    """

    def __init__(self, screen: Screen, every_s: float = 0.5, throughout: bool = False) -> None:
        pair = read_pair()
        self._picture = Picture("", pair.monotonic_ns, pair.realtime_ns - pair.monotonic_ns)
        self._every_s = every_s
        self._shown_s = 0.0
        self._screen = screen
        self._throughout = throughout
        # What a carrier said last: of a container's move there is no job.
        self._carrier = ""

    def observe(self, news: Sequence[Published]) -> None:
        """Takes it in, and shows what is known then."""
        for each in news:
            self._picture.take(each)
            if isinstance(each, Event) and each.source == "carrier":
                self._carrier = each.name
        move = self._picture.sections.get("move", {})
        if not self._throughout and (move.get("called") is None or move["returned"] is not None):
            self._screen.clear()
        elif time.monotonic() - self._shown_s >= self._every_s:
            self._shown_s = time.monotonic()
            self._show()

    def _show(self) -> None:
        if self._screen.console.is_interactive:
            self._screen.show(self._lines())
        else:
            say_at_once(f"{self._line()}\n")

    def _line(self) -> str:
        move = self._picture.sections.get("move", {})
        if move.get("called") is None or move["returned"] is not None:
            steps = self._picture.sections["steps"]
            return visible(steps[-1]["text"]) if steps else ""
        elapsed_s = self._picture.seconds(time.monotonic_ns()) - move["called"]
        # The last that has begun; of two at one moment the later one.
        begun = max(reversed(move["phases"]), key=lambda phase: float(phase["from"]), default=None)
        phase = begun["name"] if begun is not None else "reservation"
        return f"{elapsed_s:6.1f} s  {phase:14s} {self._amounts()}"

    def _amounts(self) -> str:
        job = self._picture.sections.get("job")
        if job is None:
            return self._carrier
        parts = [f"round {job['iteration']}" if job["iteration"] else "", _amount(job["transferred_bytes"], "sent"),
                 _amount(job["remaining_bytes"], "left")]  # fmt: skip
        if job["dirty_pages_per_s"]:
            parts.append(f"{job['dirty_pages_per_s']} pages/s dirtied")
        parts.append(_left(job))
        return "  ".join(filter(None, parts))

    def _lines(self) -> RenderableType:
        """The same as the page, in a few lines."""
        return Group(Text(self._line(), no_wrap=True, overflow="ellipsis"), *self._phases(), *self._strips())

    def _phases(self) -> list[Table]:
        """A table of those that have begun, if any."""
        table = Table.grid(padding=(0, 2))
        for phase in self._picture.sections.get("move", {"phases": []})["phases"]:
            length = "under way" if phase["to"] is None else format_duration(phase["to"] - phase["from"])
            table.add_row(f"{phase['name']:{_NAME_WIDTH}s}", length)
        return [table] if table.row_count else []

    def _strips(self) -> list[Text]:
        """Of the last while, as much as fits: a character for each stretch of time."""
        strips = self._picture.sections.get("strips", {}).get("strips", {})
        width = max(10, self._screen.console.width - _NAME_WIDTH - 2)
        shown = [_strip(visible(name), parts, width) for name, parts in list(strips.items())[:_MOST_STRIPS]]
        more = len(strips) - len(shown)
        return [*shown, *([Text(f"and {more} more")] if more > 0 else [])]


def _strip(name: str, parts: Sequence[Sequence[float | str]], width: int) -> Text:
    """A line: its name, and then the state in each fifth of a second up to now."""
    text = Text(f"{name[:_NAME_WIDTH]:{_NAME_WIDTH}s}  ", no_wrap=True)
    if not parts:
        return text
    until = float(parts[-1][1])
    for each in range(width - 1, -1, -1):
        mark, style = _STATES.get(_worst(parts, until - each * _CELL_S), (" ", ""))
        text.append(mark, style=style)
    return text


def _worst(parts: Sequence[Sequence[float | str]], until: float) -> str:
    """What was worst in the stretch of time that a character stands for: no failure is too short to be seen."""
    here = {part[2] for part in parts if float(part[0]) < until - _ROUNDED_S and float(part[1]) > until - _CELL_S + _ROUNDED_S}
    return next((state for state in ("failed", "silent", "good") if state in here), "")


def _left(job: dict[str, float | None]) -> str:
    if job["converges"] is False:
        return "does not converge"
    left_s, least_s, most_s = job["left_s"], job["least_s"], job["most_s"]
    if left_s is None:
        return ""
    bounds = (
        "" if least_s is None else f" ({format_duration(least_s)} to {'open' if most_s is None else format_duration(most_s)})"
    )
    return f"about {format_duration(left_s)} to go{bounds}"


def _amount(size_bytes: int | None, what: str) -> str:
    return "" if size_bytes is None else f"{format_bytes(size_bytes)} {what}"


class CampaignBar:
    """Shows how a campaign of so many trials goes, in ``steps``."""

    def __init__(self, steps: Steps, trials: int) -> None:
        self._steps = steps
        self._trials = trials
        self._began_ns = 0

    def observe(self, news: Sequence[Published]) -> None:
        """Takes in what has happened."""
        for each in news:
            if not isinstance(each, Sample):
                self._take(each)

    def _take(self, event: Event) -> None:
        data = event.data
        if event.name == STEP:
            self._steps.step(data["text"])
        elif event.name == NOTE:
            self._steps.note(data["text"])
        elif event.name == PLANNED:
            self._steps.skip(sum(trial["made"] for trial in data["trials"]))
        elif event.name == TRIAL_BEGUN:
            self._began_ns = event.seen_ns
            block = f"block {data['block']}" if data["block"] else "warm-up"
            self._steps.note(f"trial {data['order']} of {self._trials} ({self._steps.left()}): {data['arm']}, {block}")
        elif event.name == TRIAL_DONE:
            if not data["succeeded"]:
                what = "was not measured" if data["result"] in ("moved", "stayed") else data["result"]
                self._steps.note(f"trial {data['order']} {what}: {shorten(data['error'])}")
            self._steps.done((event.seen_ns - self._began_ns) / 1e9)
        elif event.name == MORE_PLANNED:
            self._trials += len(data["trials"])
            self._steps.more(len(data["trials"]))


def show_campaign(bus: Bus, steps: Steps, trials: int, watch: bool) -> None:
    """Shows in ``steps`` how a campaign goes that is told of on ``bus``; with ``watch`` each of its moves as well."""
    bus.subscribe("terminal", CampaignBar(steps, trials).observe, samples=False)
    if watch:
        bus.subscribe("terminal ('--watch')", MoveShown(steps).observe)
