"""A service that is not ours: its checks, as a file writes them, and what it is made of where it runs in our lab."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from whimbrel.spec.fields import Count, HostName, MisfitError, PositiveSeconds, Spec, Words

MOST_CHECKS = 10_000
# In a check's URL it stands for the address at which the service answers in the lab.
ADDRESS = "{address}"
Value = str | int | float | bool
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def _package(value: str) -> str:
    if not _PACKAGE.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a Debian package")
    return value


Package = Annotated[str, AfterValidator(_package)]
Port = Annotated[Count, Field(ge=1, le=65_535)]
FileName = Annotated[Words, Field(min_length=1, max_length=4000)]
# The keys of an image that name files; from where, is for whoever reads the file that names them.
FILES = ("oci", "disk", "user_data")


class WrittenCheck(Spec):
    """One check; what is not its URL are options, as behind ``#``."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Value | list[Value]]

    url: str


Checks = Annotated[tuple[str | WrittenCheck, ...], Field(min_length=1, max_length=MOST_CHECKS)]


class ImageSpec(Spec):
    """What the service is made of: an archive, a disk, or Debian packages.

    ``oci`` is an image in a file, as 'podman save --format oci-archive' and 'docker save' write it. ``disk`` is a cloud image,
    qcow2 or raw, with cloud-init in it; that is given ``user_data``, a file. ``packages`` are of the Debian that our guests are.
    """

    oci: FileName | None = None
    disk: FileName | None = None
    user_data: FileName | None = None
    packages: tuple[Package, ...] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [key for key in ("oci", "disk", "packages") if getattr(self, key)]
        if len(given) != 1:
            raise MisfitError(f"is one of 'oci', 'disk' and 'packages'; it has {' and '.join(given) or 'none of them'}")
        if self.user_data is not None and self.disk is None:
            raise MisfitError("is for the cloud-init of a 'disk'", "user_data")
        return self


class CheckedServiceSpec(Spec):
    """A service that is known by its checks (docs/watch.md): somebody else's, wherever it is, or, with an ``image``, the user's
    own in our lab.

    One that is only watched is watched for ``before`` and ``after`` each move; without them, until all is steady, and until all
    is as before. Meanwhile ``libvirt`` of hosts (a URI by a name of each) is listened to about its ``guest``, and ``hosts`` are
    sampled by ssh, as ``watch`` does with its options.

    Of one with an image ``start`` is what runs, a line of shell; an OCI image says so itself. It is ready when its TCP ``ports``
    take connections: those of its checks, unless they are given.
    """

    checks: Checks
    before_s: PositiveSeconds | None = Field(alias="before", default=None)
    after_s: PositiveSeconds | None = Field(alias="after", default=None)
    libvirt: dict[HostName, Words] = Field(default={}, max_length=8)
    guest: Words | None = Field(default=None, min_length=1, max_length=200)
    hosts: tuple[Words, ...] = Field(default=(), max_length=100)
    image: ImageSpec | None = None
    start: Words | None = Field(default=None, min_length=1, max_length=4000)
    ports: tuple[Port, ...] | None = None

    @model_validator(mode="after")
    def _runs_or_is_watched(self) -> Self:
        if self.image is None:
            for key in ("start", "ports"):
                if getattr(self, key) is not None:
                    raise MisfitError("is for a service that runs in a lab: say what it is made of, 'image'", key)
            if bool(self.libvirt) != (self.guest is not None):
                raise MisfitError("go together: about which guest is which libvirt asked?", "guest" if self.guest else "libvirt")
            if len(self.libvirt) == 1:
                raise MisfitError("names one host; a move has two", "libvirt")
            return self
        for key in ("before", "after"):
            if getattr(self, f"{key}_s") is not None:
                raise MisfitError(f"is for a service that is only watched; in a lab it is 'observe.{key}'", key)
        for key in ("libvirt", "hosts"):
            if getattr(self, key):
                raise MisfitError("is for a service that is only watched; a lab knows its hosts", key)
        if self.image.packages and self.start is None:
            raise MisfitError("is missing: what is to run of these packages?", "start")
        return self
