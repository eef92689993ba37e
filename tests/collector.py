"""A collector of traces: takes OpenTelemetry's protocol over HTTP, and decodes what it is sent."""

from __future__ import annotations

import gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(BaseHTTPRequestHandler):
    """Decodes what it is sent, as a collector does."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        asked = ExportTraceServiceRequest.FromString(body)
        spans = [span for resource in asked.resource_spans for scope in resource.scope_spans for span in scope.spans]
        assert isinstance(self.server, Collecting)
        self.server.spans += [(self.path, span.name, span.trace_id.hex(), span.span_id.hex()) for span in spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Collecting(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Collector)
        self.spans: list[tuple[str, str, str, str]] = []
