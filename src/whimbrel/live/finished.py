"""Serves the page of what is finished, until it is interrupted."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import uvicorn

from whimbrel.live.address import Address, names_of, url_of
from whimbrel.live.pages import Door, ReportOnly


def serve(report: Path, address: Address, told: Callable[[str], None]) -> None:
    """Tells where it is served; UsageError when the address cannot be had."""
    with address.listen() as listening:
        token = None if address.is_local else secrets.token_urlsafe(24)
        names = frozenset(names_of(listening)) if token is None else frozenset[str]()
        told(url_of(listening) + ("/" if token is None else f"/?token={token}"))
        app = ReportOnly(report, Door(names, token)).app
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
