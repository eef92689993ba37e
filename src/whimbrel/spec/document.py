"""Reads a file into a checked model; every error names file, line and key.

YAML 1.2, so ``no`` and ``off`` are text. Anchors and aliases are refused: a file is written out, and a small
one cannot grow into a huge one. JSON is read as JSON.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from whimbrel.errors import SpecError
from whimbrel.spec.fields import MisfitError

LARGEST_FILE_BYTES = 1 << 20
DEEPEST_NESTING = 20

Model = TypeVar("Model", bound=BaseModel)


def load_json(file: Path, model: type[Model]) -> Model:
    """What a JSON file holds, as ``model``; SpecError when it is wrong."""
    text = read_text(file)
    if not text.strip():
        raise SpecError("is empty", file=file)
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
    except json.JSONDecodeError as error:
        raise SpecError(f"is malformed JSON: {error.msg}", file=file, line=error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"is malformed JSON: {error}", file=file) from error
    if not isinstance(data, dict):
        raise SpecError("is not an object of keys and values", file=file, line=1)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, _for_lines(text, file), file, model) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def _for_lines(text: str, file: Path) -> CommentedMap:
    """The lines of a JSON file, which nearly always can be read as YAML; where it cannot, errors name no line."""
    try:
        return parse_yaml(text, file)
    except SpecError:
        return CommentedMap()


def read_text(file: Path) -> str:
    """The text of a file that people write; SpecError when it is not text."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=file) from error
    if len(raw) > LARGEST_FILE_BYTES:
        raise SpecError("is larger than 1 MiB: this is no scenario", file=file)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError("is not UTF-8 text", file=file, line=line) from error


def parse_yaml(text: str, file: Path) -> CommentedMap:
    """The mapping that the text is, with its lines; SpecError when it is not a mapping."""
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    try:
        _refuse_aliases_and_depth(yaml, text, file)
        document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part.splitlines()[0] for part in (error.context, error.problem) if part)
        raise SpecError(problem or "is malformed YAML", file=file, line=mark.line + 1 if mark else None) from error
    except (YAMLError, ValueError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise SpecError(f"is malformed YAML: {first}", file=file, line=getattr(error, "lineno", None)) from error
    if document is None:
        raise SpecError("is empty", file=file)
    if not isinstance(document, CommentedMap):
        raise SpecError("is not a mapping of keys to values", file=file, line=1)
    return document


def _refuse_aliases_and_depth(yaml: YAML, text: str, file: Path) -> None:
    depth = 0
    for event in yaml.parse(text):
        kind = type(event).__name__
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise SpecError("anchors and aliases are not used here", file=file, line=event.start_mark.line + 1)
        depth += {"Start": 1, "End": -1}.get(kind.removesuffix("Event").removeprefix("Mapping").removeprefix("Sequence"), 0)
        if depth > DEEPEST_NESTING:
            raise SpecError("is nested too deeply", file=file, line=event.start_mark.line + 1)


def spec_error(error: ValidationError, document: CommentedMap, file: Path, model: type[BaseModel]) -> SpecError:
    """The first problem that ``model`` found in the document, with its place."""
    # An unknown key is often the cause of a missing one, so it is named first.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    location = first["loc"]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, MisfitError):
        location += cause.key
    written = _as_written(location, document)
    key = ".".join(str(part) for part in written)
    problem = first["msg"].removeprefix("Value error, ")
    resolution = ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        problem = "is not a key that is known here"
        resolution = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    elif first["type"] == "missing":
        problem = "is missing"
    elif first["type"] == "string_pattern_mismatch":
        problem = f"{first['input']!r} is no name: lower-case letters, digits and '-', at most 20 (a lab's: 15), a letter first"
    elif "input" in first and isinstance(first["input"], (int, float, str)) and repr(first["input"]) not in problem:
        problem += f", not {_shown(first['input'])}"
    others = len(error.errors()) - 1
    if others:
        resolution += f"{' ' if resolution else ''}({others} more problem{'s' if others > 1 else ''} in this file)"
    return SpecError(problem, file=file, line=line_of(written, document), key=key, resolution=resolution)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_written(location: tuple[int | str, ...], document: CommentedMap) -> tuple[int | str, ...]:
    """Hosts called a and b may be written without the key that holds hosts of other names."""
    hosts = document.get("hosts")
    shortened = location[:2] == ("hosts", "servers") and isinstance(hosts, CommentedMap) and "servers" not in hosts
    return ("hosts", *location[2:]) if shortened and len(location) > 2 else location


def line_of(location: tuple[int | str, ...], document: CommentedMap) -> int | None:
    """The line of the deepest part of ``location`` that stands in the file."""
    line: int | None = None
    here: Any = document
    for part in location:
        if isinstance(here, CommentedMap) and part in here:
            line = here.lc.key(part)[0] + 1 if part in (here.lc.data or {}) else line
            here = here[part]
        elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
            line = here.lc.item(part)[0] + 1
            here = here[part]
        else:
            break
    return line


def _known_keys(top: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] | None = top
    is_name = False
    for part in location:
        if model is None or isinstance(part, int) or is_name:
            is_name = False
            continue
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        # What comes next in a mapping is a name that the user chose.
        is_name = field is not None and get_origin(field.annotation) is dict
        model = _model_in(field.annotation) if field is not None else None
    return sorted(field.alias or name for name, field in model.model_fields.items()) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
