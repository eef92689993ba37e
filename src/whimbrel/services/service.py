"""What a service must answer. A new one is a module like its neighbours, and a line in ``registry``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from whimbrel.services.client import CLIENTS, Client
from whimbrel.spec.service import WATCHED_BY, ServiceName


@dataclass(frozen=True)
class Installed:
    """An image made of Debian packages, with files of ours (images/files) by their path in it.

    ``units`` are those that would start with a guest: they are off until the service is wanted.
    """

    packages: tuple[str, ...]
    files: Mapping[str, str]
    units: tuple[str, ...] = ()


class Service(Protocol):
    """What runs in a guest, as far as forms, images and instruments have to know."""

    @property
    def name(self) -> ServiceName:
        """What it is called in a scenario file."""

    @property
    def image(self) -> Installed | None:
        """The image that it runs from; None when nothing is needed besides the guest itself."""

    @property
    def start(self) -> str:
        """A line of shell that starts it in a VM; empty when there is nothing to start."""

    @property
    def command(self) -> str:
        """A line of shell that becomes it in a container; empty when it cannot be in one."""

    @property
    def before_as_root(self) -> str:
        """What comes before ``command`` where all of it must be root's, as in a container without a machine around it."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Its TCP ports. It is ready when all of them take connections; the last one answers over HTTP."""

    @property
    def versions(self) -> Mapping[str, str]:
        """For each of its programs a line of shell that prints the version."""

    @property
    def clients(self) -> tuple[Client, ...]:
        """Who may ask it."""


def image_of(service: Service) -> Installed:
    """The image of a service that runs in a container, which scenario files never have without one."""
    assert service.image is not None, service.name
    return service.image


def clients_of(name: ServiceName) -> tuple[Client, ...]:
    """The clients that a scenario file may have of this service."""
    return tuple(CLIENTS[key] for key in WATCHED_BY[name])
