"""What a service must answer. A new one is a module like its neighbours, and a line in ``registry``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from whimbrel.services.client import CLIENTS, Client
from whimbrel.spec.service import WATCHED_BY, ServiceName


@dataclass(frozen=True)
class Installed:
    """An image made of Debian packages, with files of ours (images/files) by their path in it.

    ``units`` are those that would start with a guest: they are off until the service is wanted. ``launcher`` is as of
    ``Archive``, empty where a shell starts the service.
    """

    packages: tuple[str, ...]
    files: Mapping[str, str]
    units: tuple[str, ...] = ()
    launcher: str = ""


@dataclass(frozen=True)
class Archive:
    """A root file system out of an OCI image in a file, whose SHA-256 is ``digest``.

    It need not have a shell: at ``launcher`` in it lies a program of ours (images/programs/begin.c) that starts the service.
    """

    file: Path
    digest: str
    launcher: str = "/.whimbrel/begin"


@dataclass(frozen=True)
class CloudDisk:
    """A disk that a VM boots from, with cloud-init in it, and what that is told; ``digest`` is the SHA-256 of the disk's file."""

    file: Path
    digest: str
    user_data: str


# What a container, or a program beside the guest's own, can be made of.
Image = Installed | Archive


class Service(Protocol):
    """What runs in a guest, as far as forms, images and instruments have to know."""

    @property
    def name(self) -> ServiceName:
        """What it is called in a scenario file."""

    @property
    def image(self) -> Image | CloudDisk | None:
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
        """Its TCP ports. It is ready when all of them take connections."""

    @property
    def http_port(self) -> int | None:
        """One of them that answers over HTTP, if one does."""

    @property
    def versions(self) -> Mapping[str, str]:
        """For each of its programs a line of shell that prints the version."""

    @property
    def clients(self) -> tuple[Client, ...]:
        """Who may ask it."""


def image_of(service: Service) -> Image:
    """The image of a service that runs in a container, which scenario files never have without one."""
    assert isinstance(service.image, Image), service.name
    return service.image


def made_of(service: Service) -> dict[str, object]:
    """What tells a service from others among what goes into a saved state: the user's own can be anything."""
    if service.name != "own":
        return {"service": service.name}
    image = service.image
    # Wherever its file lies.
    of = {key: value for key, value in asdict(image).items() if key != "file"} if image is not None else {}
    return {"service": service.name, "own": {**of, "start": service.start, "command": service.command, "ports": service.ports}}


def clients_of(name: ServiceName) -> tuple[Client, ...]:
    """The clients that a scenario file may have of this service."""
    return tuple(CLIENTS[key] for key in WATCHED_BY[name])
