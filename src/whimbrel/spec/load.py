"""Reads a scenario file, with overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from whimbrel.errors import SpecError, UsageError
from whimbrel.spec.arms import ArmSpec
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.checks import FILES
from whimbrel.spec.density import DensitySpec
from whimbrel.spec.document import line_of, parse_yaml, read_text, spec_error
from whimbrel.spec.overrides import parse_override
from whimbrel.spec.service import EVERY_WATCHER
from whimbrel.units import format_duration

_FORMS_THAT_HAVE = {"vm": ("vm", "nested"), "container": ("nested", "container")}


def load_campaign(file: Path, overrides: Sequence[str] = ()) -> CampaignSpec:
    """The campaign that ``file`` describes, with ``key=value`` overrides applied; SpecError when it is wrong."""
    document = _document(file, overrides)
    if "forms" in document and "scenarios" not in document:
        raise SpecError("is a density file", file=file, resolution=f"'whimbrel density {file}' fills a server with its guests")
    spec = _validate(document, file)
    for position, scenario in enumerate(spec.scenarios):
        for arm in scenario.every_arm:
            _check_settings(document, file, position, arm)
            line = document["scenarios"].lc.item(position)[0] + 1
            try:
                there = spec.in_arm(arm)
            except ValidationError as error:
                # Such as a key by its long name, beside the same key by its short one.
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise SpecError(f"in arm {arm.name!r}: {first['msg']}", file=file, line=line, key=key) from error
            _check_film(there, arm, file, document)
            _check_files(there, arm, file, document)
            if there.watched:
                if there.migration.there is None:
                    raise SpecError(
                        f"arm {arm.name!r} has no command that moves the service", file=file, line=line,
                        key=f"scenarios.{position}", resolution="set 'migration.there', for all or in the arm",
                    )  # fmt: skip
                continue
            moves, form = there.migration.moves, arm.form or scenario.form
            if form not in _FORMS_THAT_HAVE[moves]:
                what = "a VM" if moves == "vm" else "a container"
                raise SpecError(
                    f"arm {arm.name!r} moves {what}, and there is none in the form {form!r}", file=file, line=line,
                    key=f"scenarios.{position}", resolution="give it another 'form', or say what moves: 'migration.moves'",
                )  # fmt: skip
    return spec


def load_density(file: Path, overrides: Sequence[str] = ()) -> DensitySpec:
    """The density file ``file``, with ``key=value`` overrides applied; SpecError when it is wrong."""
    document = _document(file, overrides)
    try:
        return DensitySpec.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, document, file, DensitySpec) from error


def _document(file: Path, overrides: Sequence[str]) -> CommentedMap:
    document = parse_yaml(read_text(file), file)
    for override in overrides:
        _apply(document, override)
    _find_files(document, file.absolute().parent)
    return document


def _find_files(document: Any, folder: Path, image: bool = False) -> None:
    """Files that an image is made of lie beside the file that names them, whatever we are started in."""
    if isinstance(document, list):
        for each in document:
            _find_files(each, folder)
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if (image and key in FILES) or str(key) in {f"service.image.{name}" for name in FILES}:
            document[key] = [_beside(each, folder) for each in value] if isinstance(value, list) else _beside(value, folder)
        else:
            _find_files(value, folder, image=key in ("image", "service.image"))


def _beside(name: Any, folder: Path) -> Any:
    return str(folder / name) if isinstance(name, str) and name else name


def _validate(document: CommentedMap, file: Path) -> CampaignSpec:
    try:
        return CampaignSpec.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, document, file, CampaignSpec) from error


def _check_settings(document: CommentedMap, file: Path, position: int, arm: ArmSpec) -> None:
    """What an arm sets is checked as if it stood in the file itself."""
    if not arm.settings:
        return
    changed = _with_one_arm(document, position, arm)
    for key, value in arm.settings.items():
        _put(changed, key, value, f"arm {arm.name!r} sets {key}")
    try:
        _validate(changed, file)
    except SpecError as error:
        line = document["scenarios"].lc.item(position)[0] + 1
        raise SpecError(
            f"in arm {arm.name!r}: {error.problem}", file=file, line=line, key=error.key, resolution=error.resolution
        ) from error


def _with_one_arm(document: CommentedMap, position: int, arm: ArmSpec) -> CommentedMap:
    """The document, to be changed, without what no arm can change: the other arms, and what is said of all together."""
    given = document["scenarios"][position]
    scenario = {key: given[key] for key in ("name", "title", "form", "service") if key in given}
    scenario["arms"] = [arm.model_dump(mode="json", by_alias=True)]
    of_all = ("scenarios", "evidence", "thresholds")
    kept = deepcopy({key: value for key, value in document.items() if key not in of_all})
    return CommentedMap(kept | {"scenarios": [scenario]})


def _check_film(spec: CampaignSpec, arm: ArmSpec, file: Path, document: CommentedMap) -> None:
    """SpecError when the film is over before the trials of an arm can be; how long a move takes is not known yet, so it counts 0.

    The origin plays a film once. It is over for a viewer when all of it has been sent, which is earlier by what is sent ahead.
    """
    stream, observe = spec.stream, spec.observe
    ahead = dict(stream.ahead_of(key) for key in EVERY_WATCHER if getattr(arm, key))
    if not ahead:
        return
    kept, most_s = max(ahead.items(), key=lambda item: item[1])
    watched = {"observe.before": observe.before_s, "observe.after": observe.after_s}
    watched |= {} if arm.moves else {"observe.stay": observe.stay_s}
    needed_s = sum(watched.values()) + most_s
    if stream.length_s > needed_s:
        return
    parts = ", ".join(f"{format_duration(seconds)} ({key})" for key, seconds in watched.items())
    till = " and as long as the move takes" if arm.moves else ""
    raise SpecError(
        f"the film of {format_duration(stream.length_s)} is over before a trial of arm {arm.name!r} can be: it is watched for"
        f" {parts}{till}, and {format_duration(most_s)} of it come ahead ({kept})",
        file=file, line=line_of(("stream", "length"), document), key="stream.length",
        resolution=f"give it more than {format_duration(needed_s)}{' and the time of a move' if arm.moves else ''}",
    )  # fmt: skip


def _check_files(spec: CampaignSpec, arm: ArmSpec, file: Path, document: CommentedMap) -> None:
    for key in FILES:
        name = getattr(spec.own_image, key, None)
        if name is not None and not Path(name).is_file():
            raise SpecError(
                f"arm {arm.name!r} needs a file that is not there: {name}", file=file, key=f"service.image.{key}",
                line=line_of(("service", "image", key), document), resolution="name it as seen from this file's folder",
            )  # fmt: skip


def _apply(document: CommentedMap, override: str) -> None:
    """Applies ``guest.memory=2 GiB``; a list's items are named by their ``name`` or their position."""
    key, value = parse_override(override, "guest.memory='2 GiB'")
    _put(document, key, value, f"--set {override!r}")


def _put(document: CommentedMap, key: str, value: Any, said: str) -> None:
    here: Any = document
    *steps, last = key.split(".")
    for step in steps:
        here = _step_into(here, step, said)
    if not isinstance(here, CommentedMap):
        raise UsageError(f"{said}: the file has nothing there")
    here[last] = value


def _step_into(here: Any, step: str, said: str) -> Any:
    if isinstance(here, CommentedMap):
        return here.setdefault(step, CommentedMap())
    if isinstance(here, CommentedSeq):
        for position, item in enumerate(here):
            if step == str(position) or (isinstance(item, CommentedMap) and item.get("name") == step):
                return item
    raise UsageError(f"{said}: there is no {step!r} in the file")


def schema_text() -> str:
    """The JSON Schema of a scenario file."""
    return json.dumps(CampaignSpec.model_json_schema(by_alias=True), indent=2)
