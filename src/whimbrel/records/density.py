"""What filling a server has shown, as it is kept in ``density.json``: a row for each further guest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from whimbrel.errors import UsageError
from whimbrel.records.store import read_json, write_json
from whimbrel.records.trial import Record
from whimbrel.spec.density import DensitySpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.service import FormName

DENSITY_FILE = "density.json"


class DensityStep(Record):
    """The server once it had ``guests`` guests; ``started_in_s`` is what the last of them took until it served.

    ``memory_bytes`` (page cache apart) and ``cpu_cores`` are of the whole server. ``startup_s`` is the slowest viewer's,
    ``stalls`` all of theirs together; both are None where nobody watched, and the first also when one never started.
    ``crossed`` says which limit this guest was too many for; where it could not be brought up the figures are None.
    """

    guests: int
    started_in_s: float | None = None
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    startup_s: float | None = None
    stalls: int | None = None
    crossed: str | None = None


class Filling(Record):
    """One server filled with guests of one form, with as many viewers for each. ``before`` is the server without a guest."""

    form: FormName
    viewers: int
    before: DensityStep
    steps: list[DensityStep]

    @property
    def fit(self) -> int:
        """How many guests there were before a limit was crossed; at least so many where none was."""
        return sum(step.crossed is None for step in self.steps)

    @property
    def crossed(self) -> str | None:
        """The limit that ended it; None when there were as many guests as were to be tried."""
        return self.steps[-1].crossed if self.steps else None


class DensityRecord(Record):
    """Everything raw about how a server was filled."""

    schema_version: Literal[1] = 1
    spec: DensitySpec
    command: str
    whimbrel: str
    commit: str | None
    machine_cpu: str
    machine_cpus: int
    machine_kernel: str
    accelerator: Literal["kvm", "tcg"]
    server_cpus: list[int]
    started_at: str
    versions: dict[str, str]
    fillings: list[Filling]


def holds_density(folder: Path) -> bool:
    """Whether a folder has results of this kind."""
    return (folder / DENSITY_FILE).is_file()


def write_density(folder: Path, record: DensityRecord) -> None:
    """Writes the record, over what was known before."""
    write_json(folder / DENSITY_FILE, record.model_dump(mode="json"))


def read_density(folder: Path) -> DensityRecord:
    """The record in a folder; UsageError when it cannot be read."""
    file = folder / DENSITY_FILE
    try:
        return DensityRecord.model_validate(read_json(file), context=RECORD)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                         resolution="it is damaged, or of another version") from error  # fmt: skip
