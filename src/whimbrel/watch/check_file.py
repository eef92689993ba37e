"""Checks in a file: a list of them (``checks.written``)."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from whimbrel.checks.check import Check
from whimbrel.checks.written import parsed
from whimbrel.errors import SpecError, UsageError
from whimbrel.spec.checks import Checks
from whimbrel.spec.document import line_of, parse_yaml, read_text, spec_error
from whimbrel.spec.fields import Spec


class CheckFile(Spec):
    """A file of checks."""

    checks: Checks


def load_checks(file: Path) -> list[Check]:
    """The checks that stand in a file; SpecError names the place of one that cannot be."""
    document = parse_yaml(read_text(file), file)
    try:
        written = CheckFile.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, document, file, CheckFile) from error
    found = []
    for position, check in enumerate(written.checks):
        try:
            found.append(parsed(check))
        except UsageError as error:
            line = line_of(("checks", position), document)
            raise SpecError(
                error.brief, file=file, line=line, key=f"checks.{position}", resolution=error.resolution
            ) from error  # fmt: skip
    return found
