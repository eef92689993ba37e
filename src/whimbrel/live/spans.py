"""Traces of moves by OpenTelemetry: one per move, with a span for each phase and round, and the technique's steps as its events.

``docs/live.md`` has the names. The SDK is an optional dependency; the exporter's own settings (OTEL_EXPORTER_OTLP_HEADERS and the
like) are heeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whimbrel.errors import CapabilityError
from whimbrel.events import FIGURES, PLANNED, TRIAL_BEGUN, TRIAL_DONE, WATCHED, Published, Sample
from whimbrel.live.picture import COMMAND, Picture
from whimbrel.records.trial import Event
from whimbrel.trace_parent import TraceParent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span


def need_sdk() -> None:
    """CapabilityError when the SDK is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        raise CapabilityError(
            "OpenTelemetry's SDK is not installed, which makes spans", resolution="pip install 'whimbrel[spans]'"
        ) from error


def otlp(url: str) -> SpanExporter:
    """What sends spans to a collector: OTLP over HTTP, to ``/v1/traces`` where the URL names no path."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    rest = url.split("://", 1)[-1].rstrip("/")
    return OTLPSpanExporter(endpoint=url if "/" in rest else f"{url.rstrip('/')}/v1/traces", timeout=5)


class Spans:
    """Folds what is published into spans, once ``picture`` has taken it; ``offset_ns`` is the wall clock less the monotonic one.

    ``root`` is the span of the whole command, ``parent`` the one that it was itself called within.
    """

    def __init__(
        self, picture: Picture, offset_ns: int, exporter: SpanExporter, title: str, root: TraceParent, parent: TraceParent | None
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._picture = picture
        self._offset_ns = offset_ns
        self._ids = _told_ids(root)
        self._provider = TracerProvider(resource=Resource.create({"service.name": "whimbrel"}), id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("whimbrel")
        context = None if parent is None else _context_of(parent)
        self._root = self._tracer.start_span(f"whimbrel {title}", context=context)
        self._trial: Mapping[str, Any] = {}
        self._way: Mapping[str, Any] = {}
        self._steps: list[Event] = []
        self._outcome: dict[str, Any] = {}
        self._campaign = False

    def take(self, news: Published) -> None:
        """Takes in one event; samples make no spans."""
        if isinstance(news, Sample):
            return
        if news.name == PLANNED:
            self._campaign = True
        elif news.name == TRIAL_BEGUN:
            self._trial = news.data
        elif news.name == WATCHED:
            self._way, self._steps, self._outcome = news.data, [], {}
        elif news.name == FIGURES:
            self._outcome |= {f"whimbrel.{key}": value for key, value in news.data.items() if value is not None}
        elif news.name == TRIAL_DONE:
            self._outcome["whimbrel.result"] = news.data["result"]
            self._tell_move(news.data["error"])
        elif news.source == "whimbrel" and self._way:
            self._steps.append(news)
            if "exit_code" in news.data:
                self._tell_command(news.data["exit_code"])

    def end(self) -> None:
        """Sends what is left; the exporter is waited for as long as it is patient itself."""
        self._root.end()
        self._provider.shutdown()

    def _tell_command(self, exit_code: int) -> None:
        """A command's move, which is known to be over when it has ended; the command was told of its span."""
        self._ids.next = TraceParent.read(self._way["traceparent"])
        self._outcome["whimbrel.exit_code"] = exit_code
        self._tell_move(f"the command ended with {exit_code}" if exit_code else None)

    def _tell_move(self, error: str | None) -> None:
        called = next((step for step in self._steps if step.name == "move called"), None)
        returned = next((step for step in self._steps if step.name == "move returned"), None)
        if called is None:
            return
        # A trial is a trace of its own, linked to its campaign's; a single move is within the command.
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

        begin_ns = self._wall_ns(called.seen_ns)
        context = Context() if self._campaign else set_span_in_context(self._root)
        links = [Link(self._root.get_span_context())] if self._campaign else []
        way = {f"whimbrel.{key}": self._way[key] for key in ("source", "destination") if self._way[key] is not None}
        attributes = way | self._outcome
        attributes |= {f"whimbrel.{key}": self._trial[key] for key in ("scenario", "arm", "block", "order") if key in self._trial}
        move = self._tracer.start_span("whimbrel.move", context, SpanKind.INTERNAL, attributes, links, begin_ns)
        for step in self._steps:
            move.add_event(step.name, _plain(step.data), self._wall_ns(step.seen_ns))
        ends = [self._tell_phases(move), *([self._wall_ns(returned.seen_ns)] if returned is not None else [])]
        if error is not None:
            move.set_status(Status(StatusCode.ERROR, error.splitlines()[0] if error else ""))
        move.end(max([begin_ns, *ends]))
        self._way, self._steps = {}, []

    def _tell_phases(self, move: Span) -> int:
        """A span for each phase, and within pre-copy one for each round; returns when the last of them ended."""
        from opentelemetry.trace import set_span_in_context

        latest_ns = 0
        for phase in self._picture.phases():
            if phase.from_ns is None or phase.to_ns is None or phase.name == COMMAND:
                continue
            span = self._tracer.start_span(
                f"whimbrel.{phase.name}", set_span_in_context(move), start_time=self._wall_ns(phase.from_ns)
            )
            if phase.name == "pre-copy":
                self._tell_rounds(span, phase.to_ns)
            end_ns = self._wall_ns(max(phase.from_ns, phase.to_ns))
            span.end(end_ns)
            latest_ns = max(latest_ns, end_ns)
        return latest_ns

    def _tell_rounds(self, within: Span, until_ns: int) -> None:
        from opentelemetry.trace import set_span_in_context

        rounds = [(number, from_ns) for number, from_ns in self._picture.rounds() if from_ns < until_ns]
        ends = [from_ns for _, from_ns in rounds[1:]] + [until_ns]
        for (number, from_ns), end_ns in zip(rounds, ends, strict=True):
            span = self._tracer.start_span(
                "whimbrel.round", set_span_in_context(within), attributes={"whimbrel.round": number},
                start_time=self._wall_ns(from_ns),
            )  # fmt: skip
            span.end(self._wall_ns(end_ns))

    def _wall_ns(self, t_ns: int) -> int:
        return t_ns + self._offset_ns


def _plain(data: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    return {key: value for key, value in data.items() if isinstance(value, str | int | float | bool)}


def _context_of(parent: TraceParent) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return set_span_in_context(NonRecordingSpan(SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)))


def _told_ids(root: TraceParent) -> Any:
    """Ids as the SDK draws them, but for the ``next`` span: commands that we start were told it already."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        def __init__(self) -> None:
            self.next: TraceParent | None = root

        def generate_trace_id(self) -> int:
            return super().generate_trace_id() if self.next is None else int(self.next.trace_id, 16)

        def generate_span_id(self) -> int:
            # The last that a span asks for.
            told, self.next = self.next, None
            return super().generate_span_id() if told is None else int(told.span_id, 16)

    return Ids()
