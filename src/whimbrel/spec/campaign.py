"""A campaign: scenarios, their arms, and how each trial is observed."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from whimbrel.spec.fields import Count, MisfitError, Name, PositiveSeconds, Seconds, Spec
from whimbrel.spec.hosts import HostsSpec
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES, LabSpec
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.service import FormName, GuestSpec, ServiceName, StreamSpec


class ObserveSpec(Spec):
    """How often instruments look, and how long they look around the move; ``off`` for none.

    ``reach`` asks between services of the VM and of the container, in the nested form.
    """

    sample_every_s: PositiveSeconds = Field(alias="sample_every", default=0.1, ge=0.02, le=10)
    probe_every_s: PositiveSeconds | None = Field(alias="probe_every", default=0.005, ge=0.001, le=10)
    reach_every_s: PositiveSeconds | None = Field(alias="reach_every", default=0.5, ge=0.1, le=10)
    at_rest_s: Seconds = Field(alias="at_rest", default=3.0)
    before_s: PositiveSeconds = Field(alias="before", default=5.0, ge=1)
    after_s: PositiveSeconds = Field(alias="after", default=6.0, ge=1)

    @field_validator("probe_every_s", "reach_every_s", mode="before")
    @classmethod
    def _off_is_none(cls, value: Any) -> Any:
        return None if value == "off" else value


class ArmSpec(Spec):
    """One setting of a scenario: how many viewers watch, over RTMP and over HLS, and how many trials are made."""

    viewers: Count = Field(default=0, ge=0, le=500)
    hls_viewers: Count = Field(default=0, ge=0, le=100)
    trials: Count = Field(default=1, ge=1, le=1000)


class ScenarioSpec(Spec):
    """What runs, in which form; ``published_total`` is the paper's migration time for it."""

    name: Name
    title: str = Field(min_length=1, max_length=120)
    form: FormName
    service: ServiceName
    published_total_s: PositiveSeconds | None = Field(alias="published_total", default=None)
    arms: tuple[ArmSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.form == "nested" and self.service == "none":
            raise MisfitError("a nested form needs a service: 'service: stream'", "form")
        counts = [(arm.viewers, arm.hls_viewers) for arm in self.arms]
        if self.service == "none" and any(map(any, counts)):
            raise MisfitError("viewers need a stream to watch: 'service: stream', or 'viewers: 0'", "arms")
        if len(set(counts)) < len(counts):
            raise MisfitError(f"two arms have the same viewers: {[rtmp for rtmp, _ in counts]}", "arms")
        return self


class CampaignSpec(Spec):
    """A scenario file, complete. It happens in a ``lab``, or on ``hosts`` that somebody else runs."""

    schema_version: Literal[1]
    name: Name
    title: str = Field(default="", max_length=200)
    reference: str = Field(default="", max_length=300)
    seed: Count = Field(default=1, ge=0)
    lab: LabSpec = LabSpec()
    hosts: HostsSpec | None = None
    guest: GuestSpec = GuestSpec()
    stream: StreamSpec = StreamSpec()
    migration: MigrationSpec = MigrationSpec()
    observe: ObserveSpec = ObserveSpec()
    scenarios: tuple[ScenarioSpec, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [scenario.name for scenario in self.scenarios]
        if len(set(names)) < len(names):
            raise MisfitError(f"two have the same name: {', '.join(names)}", "scenarios")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.hosts is not None and "lab" in self.model_fields_set and self.lab != LabSpec():
            raise MisfitError("stands beside 'lab': a campaign happens in one place", "hosts")
        return self

    @model_validator(mode="after")
    def _has_certificates(self) -> Self:
        if self.migration.tls and self.hosts is None and not self.lab.tls:
            raise MisfitError("needs certificates: set 'lab.tls' too", "migration", "tls")
        return self

    @property
    def link_rate_bytes_per_s(self) -> float:
        """What the link between the hosts gives, as far as the file says."""
        return self.hosts.link_rate_bytes_per_s if self.hosts else self.lab.link_rate_bytes_per_s

    @model_validator(mode="after")
    def _fits_the_servers(self) -> Self:
        if self.hosts is not None:
            return self
        smallest = min(self.lab.servers.a.memory_bytes, self.lab.servers.b.memory_bytes)
        if self.guest.memory_bytes + QEMU_OVERHEAD_BYTES > smallest:
            raise MisfitError("is more than a server of the lab has, with QEMU's own 256 MiB", "guest", "memory")
        return self
