"""A density file: how many guests one server carries, in each form, until a limit is crossed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from whimbrel.spec.fields import Count, HostName, MisfitError, Name, PositiveSeconds, Seconds, Share, Spec, Words
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES, LabSpec
from whimbrel.spec.service import SENT_AHEAD_S, GuestSpec, StreamSpec

# As many as a lab's network has addresses for.
MOST_GUESTS = 16


class DensityLimits(Spec):
    """What may not be crossed: the share of the server's memory in use (page cache apart), and what any viewer sees.

    ``startup`` is from its connection until a player with ``buffer`` shows the film, ``stalls`` how often that then stands still.
    """

    memory: Share = Field(default=0.9, gt=0, le=1)
    startup_s: PositiveSeconds | None = Field(alias="startup", default=None)
    stalls: Count | None = None


class DensitySpec(Spec):
    """Fills one server of a lab with guests, one after the other, in each form and with so many viewers for each guest.

    After each guest it is left alone for ``settle`` and watched for ``watch``. At most ``most`` guests are tried.
    """

    schema_version: Literal[1]
    name: Name
    title: Words = Field(default="", max_length=200)
    lab: LabSpec = LabSpec()
    guest: GuestSpec = GuestSpec()
    stream: StreamSpec = StreamSpec()
    on: HostName | None = None
    forms: tuple[Literal["vm", "nested", "container"], ...] = Field(default=("vm", "nested", "container"), min_length=1)
    viewers: tuple[Literal[0, 1], ...] = Field(default=(0, 1), min_length=1)
    most: Count = Field(default=MOST_GUESTS, ge=1, le=MOST_GUESTS)
    settle_s: Seconds = Field(alias="settle", default=5.0, le=600)
    watch_s: PositiveSeconds = Field(alias="watch", default=10.0, ge=2, le=600)
    buffer_s: PositiveSeconds = Field(alias="buffer", default=1.0)
    limits: DensityLimits = DensityLimits()

    @property
    def server(self) -> HostName:
        """The server that is filled."""
        return self.on or next(iter(self.lab.servers))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.server not in self.lab.servers:
            raise MisfitError(f"{self.on!r} is no server of the lab; there are {', '.join(self.lab.servers)}", "on")
        if self.guest.memory_bytes + QEMU_OVERHEAD_BYTES > self.lab.servers[self.server].memory_bytes:
            raise MisfitError("is more than the server has, with QEMU's own 256 MiB: not one guest would fit", "guest", "memory")
        if self.guest.dirtier is not None:
            raise MisfitError("has no part in how many guests fit", "guest", "dirtier")
        needed_s = self.watch_s + self.stream.read_ahead_s + SENT_AHEAD_S
        if 1 in self.viewers and self.stream.length_s <= needed_s:
            raise MisfitError(f"is over before a guest was watched: give it more than {needed_s:g} s", "stream", "length")
        for key in ("forms", "viewers"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise MisfitError("names one of them twice", key)
        return self
