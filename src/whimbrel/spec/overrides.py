"""``key=value`` from the command line, and a way to move that differs from a file's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from whimbrel.errors import UsageError
from whimbrel.spec.fields import RECORD, MisfitError
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec, TechniqueName

_OF_EVERY_TECHNIQUE = ("moves", "timeout", "bandwidth", "tls", "storage", "after")

_WITH_ROUNDS = ("pre-copy", "pre-post-copy")
_ALL_BUT_COLD = tuple(name for name in (*get_args(TechniqueName), *get_args(ContainerTechniqueName)) if name != "cold")
# The techniques to which an option means something. A file may set it for many arms, of which some do not heed it; who asks
# for it beside one technique is told.
_HEEDED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("max_downtime", "raise_downtime", "max_rounds"), _WITH_ROUNDS),
    **dict.fromkeys(("pre_copy_rounds", "pre_copy_for"), ("pre-post-copy",)),
    **dict.fromkeys(("bandwidth", "compression", "connections", "timeout", "on_timeout"), _ALL_BUT_COLD),
}

# What also limits a disk that moves along: a guest that is off has nothing else to send.
_OF_A_DISK = ("bandwidth", "timeout")


def parse_override(text: str, example: str) -> tuple[str, Any]:
    """``guest.memory=2 GiB`` to key and value, as YAML reads it; UsageError when it is not of that form."""
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not all(key.split(".")):
        raise UsageError(f"--set {text!r} is not of the form key=value, such as {example}")
    try:
        return key, YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise UsageError(f"--set {text!r}: the value is malformed YAML") from error


def migration_with(base: MigrationSpec, technique: str | None, sets: Sequence[str]) -> MigrationSpec:
    """A way to move: ``base``, with another technique or other options, each as ``key=value``; UsageError when it cannot be.

    With another technique the options that ``base`` had for its own no longer count, but for its limits of time and rate.
    """
    given = dict(parse_override(text, "max_downtime='100 ms'") for text in sets)
    if technique is not None:
        given["technique"] = technique
    if "moves" in given:
        raise UsageError("--set moves: which container or VM moves was decided when it was deployed")
    content = base.model_dump(mode="json", by_alias=True)
    if given.get("technique", base.technique) != base.technique:
        content = {key: content[key] for key in _OF_EVERY_TECHNIQUE if content[key] is not None}
    _check_each(given)
    try:
        found = MigrationSpec.model_validate(content | given, context=RECORD)
    except ValidationError as error:
        raise refused_option(error) from error
    _check_heeded(given, found)
    return found


def _check_each(given: dict[str, Any]) -> None:
    """Each option by itself, as a scenario file must have it: a quantity with its unit."""
    try:
        MigrationSpec.model_validate(given)
    except ValidationError as error:
        if any(found["loc"] for found in error.errors()):
            raise refused_option(error) from error


def _check_heeded(given: Iterable[str], found: MigrationSpec) -> None:
    known = get_args(TechniqueName if found.moves == "vm" else ContainerTechniqueName)
    for key in given:
        heeding = _HEEDED_BY.get(key, known)
        if key in _OF_A_DISK and found.storage != "shared":
            heeding = known
        if found.technique not in heeding:
            others = ", ".join(name for name in known if name in heeding)
            raise UsageError(
                f"--set {key}: has no effect on {found.technique}, only on {others}",
                resolution="leave it out, or choose another technique; docs/techniques.md lists techniques and their options",
            )


def refused_option(error: ValidationError) -> UsageError:
    """The first option of a move that cannot be, as who set it on the command line reads it."""
    first = next((found for found in error.errors() if found["loc"]), error.errors()[0])
    cause = first.get("ctx", {}).get("error")
    key = ".".join(map(str, cause.key if isinstance(cause, MisfitError) else first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    return UsageError(
        f"--set {key.removeprefix('migration.')}: {said}", resolution="docs/techniques.md lists techniques and their options"
    )
