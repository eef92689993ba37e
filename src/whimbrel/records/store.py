"""Records on disk: a folder per campaign, a folder per trial, written so that a crash leaves a whole trial or none."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from whimbrel.durable import flush
from whimbrel.errors import UsageError
from whimbrel.records.caller import copy_tree, make_folder, write_file, writing_to
from whimbrel.records.trial import READABLE_VERSIONS, TRIAL_SCHEMA_VERSION, Plan, TrialRecord
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD

_READABLE = " or ".join(map(str, READABLE_VERSIONS))
_TRIALS = "trials"
_CAMPAIGN = "campaign.json"


@dataclass(frozen=True)
class StoredTrial:
    """A trial's folder and its raw record; series are read when they are asked for.

    ``record_sha256`` is that of ``trial.json``, as the record was read from it or written to it; None of any other record.
    """

    folder: Path
    record: TrialRecord
    # Not handed on by ``dataclasses.replace``: another record is not what lies there.
    record_sha256: str | None = field(default=None, init=False, compare=False)

    @classmethod
    def of_file(cls, folder: Path, record: TrialRecord, content: bytes) -> StoredTrial:
        """A record that is the ``content`` of its file."""
        stored = cls(folder, record)
        object.__setattr__(stored, "record_sha256", hashlib.sha256(content).hexdigest())
        return stored

    def file_of(self, name: str) -> Path:
        """The file in which a series lies, if the trial recorded it."""
        return self.folder / f"{name}.parquet"

    def series(self, name: str) -> pl.DataFrame | None:
        """``hosts``, ``probe``, ``packets`` and so on; None when the trial did not record it; UsageError when damaged."""
        file = self.file_of(name)
        if not file.exists():
            return None
        try:
            return pl.read_parquet(file)
        except (pl.exceptions.PolarsError, OSError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"{file}: is damaged: {first}", resolution="remove the folder of this trial") from error


class CampaignFolder:
    """The results of one campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, spec: CampaignSpec, command: str, plans: Sequence[Plan]) -> CampaignFolder:
        """A new folder; UsageError when there is one with results already."""
        if (folder / _CAMPAIGN).exists():
            raise UsageError(f"{folder} already holds results", resolution="name another folder with --out")
        make_folder(folder / _TRIALS)
        content = {
            "schema_version": TRIAL_SCHEMA_VERSION,
            "spec": json.loads(spec.model_dump_json()),
            "command": command,
            "registration": spec.registration,
            "plans": [plan.model_dump(mode="json") for plan in plans],
        }
        write_json(folder / _CAMPAIGN, content)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> CampaignFolder:
        """Opens an existing folder of results; UsageError when it is not one."""
        if not (folder / _CAMPAIGN).is_file():
            raise UsageError(f"{folder} holds no results of whimbrel", resolution="name a folder that 'whimbrel run' has written")
        return cls(folder)

    @cached_property
    def header(self) -> dict[str, Any]:
        """``spec``, ``command`` and ``plans`` (of the trials), as they were at the start."""
        file = self.folder / _CAMPAIGN
        header = read_json(file)
        if header.get("schema_version") not in READABLE_VERSIONS or not {"spec", "command", "plans"} <= set(header):
            raise UsageError(f"{file}: is damaged, or of another version than {_READABLE}", resolution="name another folder")
        return header

    @property
    def registration(self) -> str | None:
        """The hash of what the campaign is to show, as it was at the start."""
        found: str | None = self.header.get("registration")
        return found

    @cached_property
    def spec(self) -> CampaignSpec:
        """What the campaign wanted."""
        try:
            return CampaignSpec.model_validate(self.header.get("spec"), context=RECORD)
        except ValidationError as error:
            raise _unreadable(self.folder / _CAMPAIGN, error) from error

    @cached_property
    def plans(self) -> list[Plan]:
        """The trials that were planned at the start, in their order."""
        try:
            return [Plan.model_validate(plan) for plan in self.header["plans"]]
        except (ValidationError, TypeError) as error:
            raise UsageError(f"{self.folder / _CAMPAIGN}: plans: {error}", resolution="the record is damaged") from error

    @property
    def profiles(self) -> Path:
        """Where the profiles of its guests are, when its moves are predicted; it may not be there yet."""
        return self.folder / "profiles"

    def commit(self, made: Path, record: TrialRecord) -> StoredTrial:
        """Puts a copy of a finished trial among the others, in one step. Nobody else may write into its folder ``made``."""
        content = _as_json(json.loads(record.model_dump_json()))
        write_file(made / "trial.json", content)
        plan = record.plan
        partial = self.folder / _TRIALS / f".{plan.order:04d}.partial"
        copy_tree(made, partial)
        final = self.folder / _TRIALS / f"{plan.order:04d}-{plan.arm}"
        with writing_to(final.parent):
            flush(partial)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            flush(final.parent)
        return StoredTrial.of_file(final, record, content)

    @property
    def made(self) -> int:
        """How many whole trials there are."""
        return len(self._files)

    def trials(self) -> list[StoredTrial]:
        """Every whole trial, in the order they were made; UsageError names one that cannot be read."""
        return list(self.each_trial())

    def each_trial(self) -> Iterator[StoredTrial]:
        """The same, one after the other as they are read."""
        specs = _Specs()
        return (_stored(file, specs) for file in self._files)

    def trial(self, number: int) -> StoredTrial:
        """A whole trial by its number; UsageError when there is none, or it cannot be read."""
        found = [file for file in self._files if _number(file.parent) == number]
        if not found:
            made = spans([_number(file.parent) for file in self._files]) or "none"
            raise UsageError(f"there is no trial {number}", resolution=f"trials made: {made}")
        return _stored(found[0], _Specs())

    @property
    def _files(self) -> list[Path]:
        """Sorts trials by number, which has more digits from 10,000 on."""
        return sorted((self.folder / _TRIALS).glob("[0-9]*/trial.json"), key=lambda file: (_number(file.parent), file))


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: ``1 to 3, 5``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ", ".join(" to ".join(map(str, span)) for span in found)


class _Specs:
    """Checks each spec once, however many trials have it: with many arms it is most of a record."""

    def __init__(self) -> None:
        # The scenarios of all trials so far; the rest differs from arm to arm.
        self._raw_scenarios: Any = None
        self._known: dict[str, CampaignSpec] = {}

    def read(self, raw: Any) -> Any:
        """A trial's spec. What is not one stays as it is, so that whoever checks the whole record names the key."""
        if not isinstance(raw, dict) or "scenarios" not in raw:
            return raw
        if raw["scenarios"] != self._raw_scenarios:
            self._raw_scenarios, self._known = raw["scenarios"], {}
        rest = json.dumps({key: value for key, value in raw.items() if key != "scenarios"})
        if rest not in self._known:
            scenarios = next((spec.scenarios for spec in self._known.values()), raw["scenarios"])
            try:
                self._known[rest] = CampaignSpec.model_validate(raw | {"scenarios": scenarios}, context=RECORD)
            except ValidationError:
                return raw
        return self._known[rest]


def _stored(file: Path, specs: _Specs) -> StoredTrial:
    content = _read(file)
    raw = _parse(content, file, _REMOVE)
    version = raw.get("schema_version")
    if version not in READABLE_VERSIONS:
        raise UsageError(
            f"{file}: schema_version {version!r} is not {_READABLE}, which this whimbrel reads",
            resolution="read it with the whimbrel that wrote it",
        )
    if "spec" in raw:
        raw["spec"] = specs.read(raw["spec"])
    try:
        return StoredTrial.of_file(file.parent, TrialRecord.model_validate(raw, context=RECORD), content)
    except ValidationError as error:
        raise _unreadable(file, error) from error


def _number(folder: Path) -> int:
    found = re.match(r"\d+", folder.name)
    assert found is not None
    return int(found[0])


def forget_unmade(folder: Path) -> None:
    """Removes a campaign's folder again when no trial of it was made, so that its name is free."""
    if not list((folder / _TRIALS).glob("[0-9]*/trial.json")):
        with writing_to(folder):
            shutil.rmtree(folder / _TRIALS, ignore_errors=True)
            (folder / _CAMPAIGN).unlink(missing_ok=True)


def _unreadable(file: Path, error: ValidationError) -> UsageError:
    first = error.errors()[0]
    return UsageError(
        f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}", resolution="the record is damaged"
    )


_REMOVE = "remove the folder of this trial"


def read_json(file: Path, resolution: str = _REMOVE) -> dict[str, Any]:
    """A JSON object from a file; UsageError names the file and line when it is damaged, and says what to do then."""
    return _parse(_read(file), file, resolution)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error


def _parse(raw: bytes, file: Path, resolution: str) -> dict[str, Any]:
    try:
        content = json.loads(raw.decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{file}:{line}: is damaged: {error}", resolution=resolution) from error
    if not isinstance(content, dict):
        raise UsageError(f"{file}: is damaged: not an object", resolution=resolution)
    return content


def write_json(file: Path, content: object, *, lasting: bool = True) -> None:
    """Writes a JSON file in one step; ``lasting``: see ``durable.replace_bytes``."""
    write_file(file, _as_json(content), lasting=lasting)


def _as_json(content: object) -> bytes:
    return json.dumps(content, indent=1).encode()
