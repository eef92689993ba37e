"""What is deployed: one folder per service, which also holds the journal of its last move."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from whimbrel.errors import UsageError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import Accelerator
from whimbrel.records.store import read_json, write_json
from whimbrel.records.trial import Plan
from whimbrel.services.registry import service_of
from whimbrel.services.service import Service
from whimbrel.spec.arms import ArmSpec
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD, HostName
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import refused_option
from whimbrel.spec.service import FormName
from whimbrel.system.folders import home, need_to_see

log = logging.getLogger(__name__)

_FILE = "deployment.json"
_DAMAGED = "'whimbrel gc --all' ends every lab and service that was left up, this one as well"
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,29}$"


class Deployment(BaseModel):
    """A service that was put up and left.

    ``spec`` is the scenario file as it is in the one arm that was chosen, ``on`` the host where the service was put.
    ``vms`` are its VM on each host: everywhere the same one, or a carrier each; None where an older whimbrel deployed it, for
    which all guests had one name. A container on the servers themselves has none. ``description`` is what its VM was started from
    (None where a container moves), and ``made_lab`` says whether its lab was made for it, or for others that were deployed there,
    and goes with the last of them.
    ``number`` is which of its lab's guests it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    spec: CampaignSpec
    on: HostName
    id: str
    accelerator: Accelerator | Literal["none"]
    versions: dict[str, str]
    description: str | None
    made_lab: bool
    number: int = 1
    vms: dict[HostName, GuestIdentity] | None = None

    @field_validator("vms", mode="before")
    @classmethod
    def _of_hosts_a_and_b(cls, vms: Any) -> Any:
        """An older whimbrel, which knew no other hosts, wrote them down without names."""
        return dict(zip(("a", "b"), vms, strict=True)) if isinstance(vms, (list, tuple)) else vms

    @property
    def arm(self) -> ArmSpec:
        """The arm that was chosen."""
        return self.spec.scenarios[0].every_arm[0]

    @property
    def form(self) -> FormName:
        """How its service is packaged."""
        return self.arm.form or self.spec.scenarios[0].form

    @property
    def service(self) -> Service:
        """The service that its arm has."""
        return service_of(self.spec, str(self.arm.name))

    @property
    def moves_container(self) -> bool:
        """Whether it is a container that moves, between two carriers: VMs, or cells on the servers themselves."""
        return self.spec.migration.moves == "container"

    @property
    def folder(self) -> Path:
        """The folder in which everything about the deployment is kept."""
        return folder_of(self.name)

    @property
    def journal_file(self) -> Path:
        """The journal of its last move."""
        return self.folder / "move.jsonl"

    @property
    def abort_file(self) -> Path:
        """There while its move is to be aborted."""
        return self.folder / "abort"

    def with_migration(self, migration: MigrationSpec) -> CampaignSpec:
        """Its file, with another way to move it; UsageError where that does not fit the rest of the file."""
        content = self.spec.model_dump(mode="json", by_alias=True)
        content["migration"] = migration.model_dump(mode="json", by_alias=True)
        try:
            return CampaignSpec.model_validate(content, context=RECORD)
        except ValidationError as error:
            raise refused_option(error) from error

    def write(self) -> None:
        """Writes what is known of it into its folder."""
        write_json(self.folder / _FILE, json.loads(self.model_dump_json()))


def plan_of(spec: CampaignSpec, source: HostName, destination: HostName) -> Plan:
    """A move between these hosts of a file of one arm, as a trial of a campaign would have it."""
    scenario = spec.scenarios[0]
    [arm] = scenario.every_arm
    assert arm.name is not None
    return Plan(scenario=scenario.name, arm=arm.name, form=arm.form or scenario.form, viewers=0, engine=arm.engine,
                block=1, order=1, source=source, destination=destination, state_boot=1)  # fmt: skip


def one_arm_of(spec: CampaignSpec, name: str | None) -> CampaignSpec:
    """The file as it is in one arm, and without viewers of ours; UsageError when it is unclear which."""
    names = [arm.name for scenario in spec.scenarios for arm in scenario.every_arm if arm.moves]
    if name is None and len(names) != 1:
        raise UsageError(
            "the file has several arms: choose one with --arm", resolution=f"it has: {', '.join(filter(None, names))}"
        )
    if name is not None and name not in names:
        raise UsageError(
            f"there is no arm {name!r} that moves in the file", resolution=f"it has: {', '.join(filter(None, names))}"
        )
    scenario, arm = spec.find_arm(name or str(names[0]))
    content = spec.in_arm(arm).model_dump(mode="json", by_alias=True)
    chosen = next(found for found in content["scenarios"] if found["name"] == scenario.name)
    chosen |= {"factors": {}, "trials": 1, "thresholds": {}, "arms": [
        {"name": arm.name, "form": arm.form or scenario.form, "engine": arm.engine}
    ]}  # fmt: skip
    content |= {"scenarios": [chosen], "evidence": None, "thresholds": {}}
    return CampaignSpec.model_validate(content, context=RECORD)


def find(name: str) -> Deployment:
    """The deployment of this name; UsageError when there is none."""
    # What is no name is no path either.
    if not re.fullmatch(NAME_PATTERN, name) or not (folder_of(name) / _FILE).is_file():
        known = ", ".join(deployment.name for deployment in deployed()) or "nothing"
        raise UsageError(f"nothing is deployed under the name {name!r}", resolution=f"deployed: {known}; 'whimbrel deploy FILE'")
    return _read(folder_of(name) / _FILE)


def deployed() -> Iterator[Deployment]:
    """Everything that is deployed on this machine, or from it; of one that cannot be read only a warning is heard."""
    need_to_see(home() / "deployments", "what is deployed")
    for file in sorted((home() / "deployments").glob(f"*/{_FILE}")):
        try:
            yield _read(file)
        except UsageError as error:
            log.warning("%s", error)


def others_beside(spec: CampaignSpec, name: str) -> list[Deployment]:
    """What else is deployed in the same lab; nothing on hosts by URI, which one file has for itself."""
    if spec.hosts is not None:
        return []
    return [each for each in deployed() if each.name != name and each.spec.hosts is None and each.spec.lab.name == spec.lab.name]


def folder_of(name: str) -> Path:
    """What is kept of a deployment of this name, where there is one."""
    return home() / "deployments" / name


def _read(file: Path) -> Deployment:
    try:
        return Deployment.model_validate(read_json(file, _DAMAGED), context=RECORD)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            resolution=f"undeploy it with the whimbrel that deployed it; {_DAMAGED}",
        ) from error
