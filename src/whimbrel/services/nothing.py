"""No service at all: the guest's own system alone, which moves are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel.services.client import Client
from whimbrel.spec.service import ServiceName


@dataclass(frozen=True)
class Nothing:
    """A guest in which nothing is started, and whom nobody asks. Implements ``Service``."""

    name: ServiceName = "none"
    image: None = None
    start: str = ""
    command: str = ""
    before_as_root: str = ""
    ports: tuple[int, ...] = ()
    http_port: None = None
    clients: tuple[Client, ...] = ()

    @property
    def versions(self) -> Mapping[str, str]:
        """There is no program of it."""
        return {}


NOTHING = Nothing()
