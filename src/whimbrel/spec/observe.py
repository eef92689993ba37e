"""What a file says of how each trial is observed."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from whimbrel.spec.fields import PositiveSeconds, Seconds, Spec


class ObserveSpec(Spec):
    """How often instruments look, and how long they look around the move; ``off`` for none.

    ``reach`` asks between services of the VM and of the container, in the nested form. ``stay`` is how long a guest that does
    not move, for comparison, is watched instead. At rest the link between the hosts is tried for ``link_for``.
    A ``witness`` in the guest says whether memory, a file and a connection came through; it takes a little of the guest.
    ``profile_for`` has each arm's guest profiled for so long, once for each saved state, and each move predicted beforehand.
    """

    sample_every_s: PositiveSeconds = Field(alias="sample_every", default=0.1, ge=0.02, le=10)
    probe_every_s: PositiveSeconds | None = Field(alias="probe_every", default=0.005, ge=0.001, le=10)
    reach_every_s: PositiveSeconds | None = Field(alias="reach_every", default=0.5, ge=0.1, le=10)
    link_for_s: PositiveSeconds | None = Field(alias="link_for", default=0.3, ge=0.1, le=10)
    witness: bool = Field(default=False, strict=True)
    profile_for_s: PositiveSeconds | None = Field(alias="profile_for", default=None, ge=2, le=120)
    at_rest_s: Seconds = Field(alias="at_rest", default=3.0)
    before_s: PositiveSeconds = Field(alias="before", default=5.0, ge=1)
    after_s: PositiveSeconds = Field(alias="after", default=6.0, ge=1)
    stay_s: PositiveSeconds = Field(alias="stay", default=5.0)

    @field_validator("probe_every_s", "reach_every_s", "link_for_s", "profile_for_s", mode="before")
    @classmethod
    def _off_is_none(cls, value: Any) -> Any:
        return None if value == "off" else value
