"""The pages that are served: the live one, and the report that it ends in. Nothing that is asked changes anything.

Whoever is not on this machine needs the token: in the address at first, in a cookie from then on. Requests by another name than
that of the address are refused, so that a page of somebody else's in the same browser cannot read ours (DNS rebinding).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whimbrel.live.hub import Hub

_STATIC = Path(__file__).parent / "static"
_FILES = {"/": ("live.html", "text/html"), "/live.js": ("live.js", "text/javascript"), "/live.css": ("live.css", "text/css"),
          "/uplot.js": ("uplot.js", "text/javascript"), "/uplot.css": ("uplot.css", "text/css")}  # fmt: skip
_COOKIE = "whimbrel"
_STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The report has its charts within it, and is given no origin: it can ask for nothing of ours.
_REPORT = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';"
    " style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


@dataclass(frozen=True)
class Door:
    """Who may come in: the names (with ports) by which we may be asked, and the token; None where none is needed."""

    names: frozenset[str]
    token: str | None


class _Guard:
    """In front of the pages: refuses whoever may not come in, and sends the headers that all answers have."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", _STRICT)
            await send(message)

        await (self._refused(Request(scope)) or self._app)(scope, receive, send_guarded)

    def _refused(self, request: Request) -> Response | None:
        if self._door.names and request.headers.get("host", "") not in self._door.names:
            return PlainTextResponse("this page has another address\n", 421)
        token = self._door.token
        if token is None:
            return None
        given = request.query_params.get("token")
        if given is not None and secrets.compare_digest(given.encode(), token.encode()):
            # Out of the address, which browsers keep and show.
            response = RedirectResponse(request.url.path, 303)
            response.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return response
        if secrets.compare_digest(request.cookies.get(_COOKIE, "").encode(), token.encode()):
            return None
        return PlainTextResponse("open it by the whole address that whimbrel printed, with its token\n", 403)


class Pages:
    """What is asked, answered from ``hub`` and, once there is one, from the file ``report``."""

    def __init__(self, hub: Hub, door: Door) -> None:
        self.report: Path | None = None
        self.report_taken = 0
        self._hub = hub
        routes = [Route(path, self._file) for path in _FILES]
        routes += [Route("/events", self._events), Route("/report", self._report)]
        self.app = Starlette(routes=routes, middleware=[Middleware(_Guard, door=door)])

    async def _file(self, request: Request) -> Response:
        name, media_type = _FILES[request.url.path]
        return FileResponse(_STATIC / name, media_type=media_type)

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self._hub.follow(), media_type="text/event-stream")

    async def _report(self, request: Request) -> Response:
        if self.report is None:
            return PlainTextResponse("there is no report yet\n", 404)
        self.report_taken += 1
        return FileResponse(self.report, media_type="text/html", headers={"Content-Security-Policy": _REPORT})


class ReportOnly:
    """A finished report, and nothing else."""

    def __init__(self, report: Path, door: Door) -> None:
        self._report = report
        self.app = Starlette(routes=[Route("/", self._answer)], middleware=[Middleware(_Guard, door=door)])

    async def _answer(self, request: Request) -> Response:
        return FileResponse(self._report, media_type="text/html", headers={"Content-Security-Policy": _REPORT})
