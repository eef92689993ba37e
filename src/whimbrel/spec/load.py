"""Reads a scenario file, with overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from whimbrel.errors import UsageError
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.document import parse_yaml, read_text, spec_error


def load_campaign(file: Path, overrides: Sequence[str] = ()) -> CampaignSpec:
    """The campaign that ``file`` describes, with ``key=value`` overrides applied; SpecError when it is wrong."""
    document = parse_yaml(read_text(file), file)
    for override in overrides:
        _apply(document, override)
    try:
        return CampaignSpec.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, document, file, CampaignSpec) from error


def _apply(document: CommentedMap, override: str) -> None:
    """Applies ``guest.memory=2 GiB``; a list's items are named by their ``name`` or their position."""
    key, separator, text = override.partition("=")
    steps = key.strip().split(".")
    if not separator or not all(steps):
        raise UsageError(f"--set {override!r} is not of the form key=value, such as guest.memory='2 GiB'")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UsageError(f"--set {override!r}: the value is malformed YAML") from error
    place: Any = document
    for step in steps[:-1]:
        place = _step_into(place, step, override)
    if not isinstance(place, CommentedMap):
        raise UsageError(f"--set {override!r}: there is no such place in the file")
    place[steps[-1]] = value


def _step_into(place: Any, step: str, override: str) -> Any:
    if isinstance(place, CommentedMap):
        return place.setdefault(step, CommentedMap())
    if isinstance(place, CommentedSeq):
        for position, item in enumerate(place):
            if step == str(position) or (isinstance(item, CommentedMap) and item.get("name") == step):
                return item
    raise UsageError(f"--set {override!r}: there is no {step!r} in the file")


def schema_text() -> str:
    """The JSON Schema of a scenario file."""
    return json.dumps(CampaignSpec.model_json_schema(by_alias=True), indent=2)
