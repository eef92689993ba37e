"""How a guest is moved."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whimbrel.spec.fields import BytesPerSecond, Count, PositiveSeconds, Spec

TechniqueName = Literal["pre-copy"]


class MigrationSpec(Spec):
    """A technique and its limits; ``bandwidth`` None means as fast as the link goes.

    After ``max_rounds`` passes over memory the guest is stopped and the rest is copied, however much it is.
    When ``timeout`` has passed, ``on_timeout`` says whether to abort the move or to stop and copy.
    """

    technique: TechniqueName = "pre-copy"
    bandwidth_bytes_per_s: BytesPerSecond | None = Field(alias="bandwidth", default=None, ge=2**20)
    max_downtime_s: PositiveSeconds = Field(alias="max_downtime", default=0.3, ge=0.001, le=2000)
    max_rounds: Count = Field(default=30, ge=1, le=1000)
    timeout_s: PositiveSeconds = Field(alias="timeout", default=300.0)
    on_timeout: Literal["abort", "stop-and-copy"] = "abort"
