"""Records on disk: a folder per campaign, a folder per trial, written so that a crash leaves a whole trial or none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """A trial's folder and its raw record; series are read when they are asked for."""

    folder: Path
    record: TrialRecord

    def series(self, name: str) -> pl.DataFrame | None:
        """``hosts``, ``probe``, ``packets`` or ``job``; None when the trial did not record it; UsageError when damaged."""
        file = self.folder / f"{name}.parquet"
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
        """An existing folder; UsageError when it is none."""
        if not (folder / _CAMPAIGN).is_file():
            raise UsageError(f"{folder} holds no results of whimbrel", resolution="name a folder that 'whimbrel run' has written")
        return cls(folder)

    @property
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

    @property
    def spec(self) -> CampaignSpec:
        """What the campaign wanted."""
        try:
            return CampaignSpec.model_validate(self.header.get("spec"), context=RECORD)
        except ValidationError as error:
            raise _unreadable(self.folder / _CAMPAIGN, error) from error

    @property
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

    def commit(self, workplace: Path, record: TrialRecord) -> StoredTrial:
        """Puts a copy of the finished trial in place, in one step; nobody else may write into ``workplace``."""
        write_json(workplace / "trial.json", json.loads(record.model_dump_json()))
        plan = record.plan
        partial = self.folder / _TRIALS / f".{plan.order:04d}.partial"
        copy_tree(workplace, partial)
        final = self.folder / _TRIALS / f"{plan.order:04d}-{plan.arm}"
        with writing_to(final.parent):
            flush(partial)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            flush(final.parent)
        return StoredTrial(final, record)

    def trials(self) -> list[StoredTrial]:
        """Every whole trial, in the order they were made; UsageError names one that cannot be read."""
        return list(self._read())

    def _read(self) -> Iterator[StoredTrial]:
        for file in sorted((self.folder / _TRIALS).glob("[0-9]*/trial.json")):
            raw = read_json(file)
            version = raw.get("schema_version")
            if version not in READABLE_VERSIONS:
                raise UsageError(
                    f"{file}: schema_version {version!r} is not {_READABLE}, which this whimbrel reads",
                    resolution="read it with the whimbrel that wrote it",
                )
            try:
                yield StoredTrial(file.parent, TrialRecord.model_validate(raw, context=RECORD))
            except ValidationError as error:
                raise _unreadable(file, error) from error


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


def read_json(file: Path, resolution: str = "remove the folder of this trial") -> dict[str, Any]:
    """A JSON object from a file; UsageError names the file and line when it is damaged, and says what to do then."""
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{file}:{line}: is damaged: {error}", resolution=resolution) from error
    if not isinstance(content, dict):
        raise UsageError(f"{file}: is damaged: not an object", resolution=resolution)
    return content


def write_json(file: Path, content: object, *, lasting: bool = True) -> None:
    """Writes a JSON file in one step; ``lasting``: see ``durable.replace_bytes``."""
    write_file(file, json.dumps(content, indent=1).encode(), lasting=lasting)
