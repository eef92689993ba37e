"""Field types of the specs: quantities with units, and names that are safe in paths and link names.

In a scenario file a quantity is text with a unit; in a record it is the plain number that the field's name
gives the unit of. ``model_validate(..., context=RECORD)`` reads the second kind.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from ruamel.yaml.scalarint import BinaryInt, HexCapsInt, HexInt, OctalInt

from whimbrel.plain_text import visible
from whimbrel.units import parse_bytes, parse_duration, parse_rate, parse_share

RECORD: dict[str, Any] = {"from": "record"}


class Spec(BaseModel):
    """A frozen part of what is wanted; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, strict=False)

    def __copy__(self) -> Self:
        """What was worked out from the content (``cached_property``) stays behind: a copy may be given another content."""
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class MisfitError(ValueError):
    """A value that is wrong only beside others; ``key`` is where it stands, seen from the model that noticed."""

    def __init__(self, message: str, *key: str | int) -> None:
        super().__init__(message)
        self.key = key


Item = TypeVar("Item")


def first_double(items: Sequence[Item]) -> Item | None:
    """The first of the items that is there more than once; None when all differ."""
    counts = Counter(items)
    return next((item for item in items if counts[item] > 1), None)


def _quantity(parse: Callable[[str], float]) -> Callable[[Any, ValidationInfo], Any]:
    def read(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return parse(value)
        if info.context is RECORD or value is None:
            return value
        raise ValueError(f"{value!r} has no unit: write it as text with one, such as {_EXAMPLES[parse]!r}")

    return read


_EXAMPLES: dict[Callable[[str], float], str] = {
    parse_bytes: "1 GiB",
    parse_rate: "200 Mbit/s",
    parse_duration: "300 ms",
    parse_share: "7 %",
}


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    if isinstance(value, (BinaryInt, OctalInt, HexInt, HexCapsInt)):
        raise ValueError(f"write it in decimal digits: {int(value)}")
    return value


# Members of a lab, and subjects of what is measured, that no host may be taken for.
_NOT_FOR_HOSTS = ("vantage", "fabric", "machine", "instruments", "shared", "ca")
# Names of network links are made of it, which Linux keeps to 15 characters.
_HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,10}")


def check_host_name(value: str) -> str:
    """A name for a host, as it was given; ValueError when it cannot be one."""
    if not _HOST_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a host: small letters, digits and '-', a letter first, at most 11")
    if value in _NOT_FOR_HOSTS:
        raise ValueError(f"{value!r} cannot be the name of a host: something else is called that")
    return value


def _words(value: str) -> str:
    if visible(value) != value:
        raise ValueError(f"{value!r} has characters in it that a terminal would act on: write plain words")
    return value


def _network(value: str) -> str:
    network = ipaddress.ip_network(value)
    if network.version != 4 or not network.is_private or network.prefixlen > 25:
        raise ValueError(f"{value!r} is not a private IPv4 network of at least 126 addresses, such as 10.77.0.0/24")
    return value


Bytes = Annotated[int, BeforeValidator(_quantity(parse_bytes)), Field(gt=0, lt=2**50)]
BytesPerSecond = Annotated[float, BeforeValidator(_quantity(parse_rate)), Field(gt=0, lt=2**40)]
Seconds = Annotated[float, BeforeValidator(_quantity(parse_duration)), Field(ge=0, le=86_400)]
PositiveSeconds = Annotated[float, BeforeValidator(_quantity(parse_duration)), Field(gt=0, le=86_400)]
Share = Annotated[float, BeforeValidator(_quantity(parse_share))]
Count = Annotated[int, BeforeValidator(_whole)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
LabName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")]
HostName = Annotated[str, AfterValidator(check_host_name)]
Words = Annotated[str, AfterValidator(_words)]
Network = Annotated[str, AfterValidator(_network)]
