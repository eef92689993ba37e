"""Checks of a service that is not ours, as a file writes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from whimbrel.spec.fields import PositiveSeconds, Spec

MOST_CHECKS = 10_000
Value = str | int | float | bool


class WrittenCheck(Spec):
    """One check; what is not its URL are options, as behind ``#``."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Value | list[Value]]

    url: str


Checks = Annotated[tuple[str | WrittenCheck, ...], Field(min_length=1, max_length=MOST_CHECKS)]


class WatchedServiceSpec(Spec):
    """A service that somebody else runs, wherever that is, known by its checks alone (docs/watch.md).

    It is watched for ``before`` and ``after`` each move; without them, until all is steady, and until all is as before.
    """

    checks: Checks
    before_s: PositiveSeconds | None = Field(alias="before", default=None)
    after_s: PositiveSeconds | None = Field(alias="after", default=None)
