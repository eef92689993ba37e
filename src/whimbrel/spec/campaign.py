"""A campaign: scenarios, their arms, and how each trial is observed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from whimbrel.spec.arms import SHORT_NAMES, ArmSpec, crossed
from whimbrel.spec.checks import CheckedServiceSpec, ImageSpec
from whimbrel.spec.evidence import EvidenceSpec, Thresholds, check_in
from whimbrel.spec.fields import RECORD, Count, HostName, MisfitError, Name, PositiveSeconds, Spec, Words, first_double
from whimbrel.spec.hosts import HostsSpec
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES, LabSpec
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.observe import ObserveSpec
from whimbrel.spec.own_guest import refuse_misfits, unprobed
from whimbrel.spec.service import EVERY_WATCHER, WATCHED_BY, FormName, GuestSpec, ServiceName, StreamSpec

_MOST_ARMS = 500
_LEAST_BOOTS = 5
# What is measured of an arm in which nothing moves, over the time that it is watched.
# What is known of a service that is only watched.
_OF_WATCHED = ("total_s", "service_gap_ms")
_FOR_THOSE_THAT_STAY = ("service_gap_ms", "reachability_gap_ms", "link_bytes", "source_cpu_s", "destination_cpu_s")


class ScenarioSpec(Spec):
    """What runs, in which form; ``published_total`` is the paper's migration time for it.

    Its arms are listed, or crossed from ``factors``: every combination of their values, ``trials`` times.
    """

    name: Name
    title: Words = Field(min_length=1, max_length=120)
    form: FormName
    service: ServiceName
    published_total_s: PositiveSeconds | None = Field(alias="published_total", default=None)
    arms: tuple[ArmSpec, ...] = ()
    factors: dict[str, tuple[Any, ...]] = Field(default={}, max_length=8)
    trials: Count = Field(default=1, ge=1, le=1000)
    thresholds: Thresholds = Field(default={})

    @model_validator(mode="after")
    def _has_arms(self) -> Self:
        if self.arms and self.factors:
            raise MisfitError("stand beside 'arms': list arms, or cross factors", "factors")
        if not self.arms and not self.factors:
            raise MisfitError("is missing: list 'arms', or cross 'factors'", "arms")
        combinations = math.prod(len(values) for values in self.factors.values())
        if not 0 < combinations <= _MOST_ARMS:
            raise MisfitError(f"make {combinations} arms; a scenario has 1 to {_MOST_ARMS}", "factors")
        if self.arms and "trials" in self.model_fields_set and self.trials != 1:
            raise MisfitError("is for crossed factors; an arm has its own 'trials'", "trials")
        try:
            # Making the arms is the check.
            _ = self.every_arm
            return self
        except ValidationError as error:
            first = error.errors()[0]
            factor = ".".join(str(part) for part in first["loc"])
            raise MisfitError(f"{factor}: {first['msg'].removeprefix('Value error, ')}", "factors") from error

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        where = "arms" if self.arms else "factors"
        for arm in self.every_arm:
            form = arm.form or self.form
            if form in ("nested", "container") and self.service == "none":
                raise MisfitError(f"the form {form!r} needs a service: 'service: stream'", "form")
            if arm.engine != "none" and form != "vm":
                raise MisfitError("an engine that idles runs beside a service in a VM: 'form: vm'", where)
            for key in EVERY_WATCHER:
                if getattr(arm, key) and key not in WATCHED_BY[self.service]:
                    raise MisfitError(
                        f"viewers need a stream to watch: 'service: stream', or '{key}: 0'"
                        + (f"; the service {self.service!r} has none for them" if self.service != "none" else ""), where,
                    )  # fmt: skip
        double = first_double([arm.name for arm in self.every_arm])
        if double is not None:
            raise MisfitError(f"two arms are alike, {double!r}: give them 'name', or remove one", where)
        return self

    @cached_property
    def every_arm(self) -> tuple[ArmSpec, ...]:
        """The arms, each with its name."""
        arms = self.arms or tuple(ArmSpec.model_validate(arm) for arm in crossed(self.factors, self.trials))
        return tuple(arm.named(self.name, self.form, "viewers" in WATCHED_BY[self.service]) for arm in arms)


def _filled(given: Mapping[str, Any], fill: Mapping[str, str]) -> dict[str, Any]:
    """A file whose scenarios have these keys where they do not say them themselves."""
    scenarios = given.get("scenarios")
    if isinstance(scenarios, Sequence) and not isinstance(scenarios, str):
        scenarios = [{**fill, **each} if isinstance(each, Mapping) else each for each in scenarios]
    return {**given, "scenarios": scenarios}


class CampaignSpec(Spec):
    """A scenario file, complete. It happens in a ``lab``, or on ``hosts`` that somebody else runs.

    With ``hosts: none`` it happens wherever a ``service`` is that its checks know, and commands move it. With ``guest.domain`` a
    guest of the user's own moves between the hosts, seen by the checks of ``service``, if any. Scenarios then need neither form
    nor service. A ``service`` with an image is the user's own, and runs in the lab; scenarios then need no service.
    """

    schema_version: Literal[1]
    name: Name
    title: Words = Field(default="", max_length=200)
    reference: Words = Field(default="", max_length=300)
    seed: Count = Field(default=1, ge=0)
    lab: LabSpec = LabSpec()
    hosts: HostsSpec | None = None
    service: CheckedServiceSpec | None = None
    guest: GuestSpec = GuestSpec()
    stream: StreamSpec = StreamSpec()
    migration: MigrationSpec = MigrationSpec()
    observe: ObserveSpec = ObserveSpec()
    scenarios: tuple[ScenarioSpec, ...] = Field(min_length=1, max_length=100)
    evidence: EvidenceSpec | None = None
    thresholds: Thresholds = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _no_hosts(cls, given: Any) -> Any:
        """``hosts: none`` is what a service needs that is only watched."""
        if not isinstance(given, Mapping):
            return given
        guest, service = given.get("guest"), given.get("service")
        if isinstance(guest, Mapping) and guest.get("domain") is not None:
            return _filled(given, {"form": "vm", "service": "none"}) | unprobed(given.get("observe"))
        if isinstance(service, Mapping) and service.get("image") is not None:
            return _filled(given, {"service": "own"})
        if service and "hosts" not in given:
            raise MisfitError("is known by checks alone, wherever it is: write 'hosts: none', or its 'image'", "service")
        if given.get("hosts") != "none":
            return given
        if not given.get("service"):
            raise MisfitError("needs a service that is known by checks: 'service: {checks: [...]}'", "hosts")
        return _filled(given, {"form": "elsewhere", "service": "none"}) | {"hosts": None}

    @property
    def watched(self) -> bool:
        """Whether the service is somebody else's, which is only watched while a command moves it."""
        return self.service is not None and self.service.image is None and not self.own

    @property
    def own(self) -> bool:
        """Whether a guest of the user's own moves, which runs already."""
        return self.guest.domain is not None

    @property
    def own_image(self) -> ImageSpec | None:
        """What the user's own service is made of; None where the service is ours, or somebody else's."""
        return self.service.image if self.service is not None else None

    @property
    def runs_already(self) -> bool:
        """Whether what moves is up before the first trial, wherever somebody else runs it."""
        return self.watched or self.own

    @model_validator(mode="after")
    def _own_guest_on_hosts(self) -> Self:
        refuse_misfits(self)
        return self

    @model_validator(mode="after")
    def _watched_as_a_whole(self) -> Self:
        """A service is known by its checks in every scenario or in none, and commands move it then, and only then."""
        if self.watched != (self.migration.by == "command"):
            lacking = "'migration: {by: command, there: ...}'" if self.watched else "'service: {checks: [...]}' and 'hosts: none'"
            raise MisfitError(f"needs {lacking}", "service" if self.watched else "migration")
        if self.watched and (self.hosts is not None or ("lab" in self.model_fields_set and self.lab != LabSpec())):
            raise MisfitError("is somewhere else: write 'hosts: none', and no lab", "service")
        for position, scenario in enumerate(self.scenarios):
            for arm in scenario.every_arm:
                if ((arm.form or scenario.form) == "elsewhere") != self.watched:
                    raise MisfitError(
                        "is for a service that is known by checks alone ('hosts: none')", "scenarios", position, "form"
                    )
                if self.watched and (arm.viewers or arm.hls_viewers or arm.engine != "none" or not arm.moves):
                    raise MisfitError("of a service that is only watched are told apart by 'set'", "scenarios", position, "arms")
        return self

    @model_validator(mode="after")
    def _own_service_is_there(self) -> Self:
        """A scenario's service is the user's own where the file says what that is, and only there; a disk is a whole VM."""
        for position, scenario in enumerate(self.scenarios):
            if (scenario.service == "own") != (self.own_image is not None):
                said = "say what your own is made of: 'service: {image: ..., checks: [...]}' for the whole file"
                if self.own_image is not None:
                    said = f"the file's service has an image of its own, so no scenario has {scenario.service!r}: leave it out"
                raise MisfitError(said, "scenarios", position, "service")
            forms = {arm.form or scenario.form for arm in scenario.every_arm}
            if self.own_image is not None and self.own_image.disk is not None and forms != {"vm"}:
                raise MisfitError("a disk is a VM: 'form: vm'", "scenarios", position, "form")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [scenario.name for scenario in self.scenarios]
        if len(set(names)) < len(names):
            raise MisfitError(f"two have the same name: {', '.join(names)}", "scenarios")
        double = first_double([arm.name for scenario in self.scenarios for arm in scenario.every_arm])
        if double is not None:
            raise MisfitError(f"two arms go by the name {double!r}: give one of them another 'name'", "scenarios")
        return self

    @model_validator(mode="after")
    def _hypotheses_name_arms(self) -> Self:
        if self.evidence is None:
            return self
        arms = self.arms_by_name
        for position, hypothesis in enumerate(self.evidence.hypotheses):
            for key, name in (("arm", hypothesis.arm), ("over", hypothesis.over)):
                if name not in arms:
                    raise MisfitError(
                        f"{name!r} is no arm; there are {', '.join(sorted(arms))}",
                        "evidence", "hypotheses", position, key,
                    )  # fmt: skip
                self._must_have(hypothesis.figure or self.evidence.figure, name, position, key)
        return self

    def _must_have(self, figure: str, name: str, position: int, key: str) -> None:
        """Refuses a hypothesis on a figure that its arm can never have."""
        _, arm = self.find_arm(name)
        if check_in(figure) is not None:
            if self.service is None:
                raise MisfitError("is of a check, and the file's services have none", "evidence", "hypotheses", position, key)
            return
        if self.watched:
            if figure not in _OF_WATCHED:
                known = f"of a service that is only watched there are {' and '.join(_OF_WATCHED)}, and figures of its checks"
                raise MisfitError(known, "evidence", "hypotheses", position, key)
            return
        lacks = (
            "no check sees it ('service: {checks: [...]}')" if figure == "service_gap_ms" and self.own and not self.service else
            "nobody watches in it" if figure == "service_gap_ms" and not arm.viewers and self.service is None else
            "nothing moves in it" if figure not in _FOR_THOSE_THAT_STAY and not arm.moves else None
        )  # fmt: skip
        if lacks is not None:
            raise MisfitError(f"{name!r} never has {figure}: {lacks}", "evidence", "hypotheses", position, key)

    @model_validator(mode="after")
    def _enough_boots(self) -> Self:
        if self.evidence is not None and not self.runs_already and self.guest.saved_states < _LEAST_BOOTS:
            raise MisfitError(
                f"are too few to show anything: what boots differ by would pass for what arms differ by; at least {_LEAST_BOOTS}",
                "guest", "saved_states",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _one_site(self) -> Self:
        if self.hosts is not None and "lab" in self.model_fields_set and self.lab != LabSpec():
            raise MisfitError("stands beside 'lab': a campaign runs either in a lab or on 'hosts'", "hosts")
        return self

    @model_validator(mode="after")
    def _has_certificates(self) -> Self:
        if self.migration.tls and self.hosts is None and not self.lab.tls:
            raise MisfitError("needs certificates: set 'lab.tls' too", "migration", "tls")
        return self

    @model_validator(mode="after")
    def _qemu_takes_it(self) -> Self:
        """What depends on the servers' QEMU. On hosts it is theirs that says so, before it sends anything."""
        together = self.migration.ends_as_post_copy and self.migration.connections > 1
        if together and self.hosts is None and self.lab.suite == "trixie":
            raise MisfitError(
                "QEMU before 10.1 refuses parallel connections together with post-copy, and the lab's is 10.0:"
                " 'lab.suite: trixie-backports' has a newer one", "migration", "connections",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _virsh_runs_on_a_server(self) -> Self:
        if self.migration.by == "virsh" and self.hosts is not None:
            raise MisfitError("runs virsh on the source, which can only be done in a lab", "migration", "by")
        return self

    @model_validator(mode="after")
    def _hosts_share_their_storage(self) -> Self:
        if self.migration.storage != "shared" and self.hosts is not None:
            raise MisfitError("moves a disk between folders of each host's own; 'hosts.storage' is one that both share",
                              "migration", "storage")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _containers_have_carriers(self) -> Self:
        if self.migration.moves == "vm":
            return self
        if self.hosts is not None:
            raise MisfitError("needs carriers, whose addresses only a lab has", "migration", "moves")
        if self.guest.dirtier is not None:
            raise MisfitError("dirties the VM's memory, which stays where it is when its container moves", "guest", "dirtier")
        return self

    @property
    def link_rate_bytes_per_s(self) -> float:
        """What the link between the hosts gives, as far as the file says."""
        return self.hosts.link_rate_bytes_per_s if self.hosts else self.lab.link_rate_bytes_per_s

    @model_validator(mode="after")
    def _fits_the_servers(self) -> Self:
        if self.hosts is not None:
            return self
        smallest = min(server.memory_bytes for server in self.lab.servers.values())
        if self.guest.memory_bytes + QEMU_OVERHEAD_BYTES > smallest:
            raise MisfitError("is more than a server of the lab has, with QEMU's own 256 MiB", "guest", "memory")
        return self

    @property
    def registration(self) -> str | None:
        """The hash of all that is wanted, where it says what it is to show: written down before the first trial."""
        if self.evidence is None:
            return None
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def host_names(self) -> Sequence[HostName]:
        """The hosts, as the file names them; a campaign moves between the first two."""
        return list(self.hosts.servers if self.hosts is not None else self.lab.servers)

    @cached_property
    def arms_by_name(self) -> dict[str, tuple[ScenarioSpec, ArmSpec]]:
        """Every arm, and its scenario."""
        return {str(arm.name): (scenario, arm) for scenario in self.scenarios for arm in scenario.every_arm}

    def find_arm(self, name: str) -> tuple[ScenarioSpec, ArmSpec]:
        """The arm of this name, and its scenario; KeyError when there is none."""
        return self.arms_by_name[name]

    def in_arm(self, arm: ArmSpec) -> CampaignSpec:
        """The campaign as it is for this arm of it, with its settings in place of the file's; ValidationError for a misfit."""
        if not arm.settings:
            return self
        if str(arm.name) not in self.specs_in_arms:
            self.specs_in_arms[str(arm.name)] = self._with(arm)
        return self.specs_in_arms[str(arm.name)]

    @cached_property
    def specs_in_arms(self) -> dict[str, CampaignSpec]:
        """What ``in_arm`` has found, by the arm's name."""
        return {}

    def _with(self, arm: ArmSpec) -> CampaignSpec:
        """The other arms, and what is said of all together, no arm can change: so they are not checked once more for each."""
        others = {"scenarios": self.scenarios, "evidence": self.evidence, "thresholds": self.thresholds}
        scenario = self.find_arm(str(arm.name))[0].model_copy(update={"arms": (arm,), "factors": {}, "trials": 1})
        alone = self.model_copy(update={"scenarios": (scenario,), "evidence": None, "thresholds": {}})
        content = alone.model_dump(mode="json", by_alias=True)
        for key, value in arm.settings.items():
            here = content
            *steps, last = key.split(".")
            for step in steps:
                here[step] = here.get(step) or {}
                here = here[step]
            here[last] = value
        return CampaignSpec.model_validate(content, context=RECORD).model_copy(update=others)

    def particulars_of(self, arm: ArmSpec) -> str:
        """The particulars of the arm that this campaign is for (``in_arm``), and what is set where that is not what was asked."""
        note = self.migration.bandwidth_note if SHORT_NAMES["bandwidth"] in arm.settings else None
        return arm.particulars + (f" ({note})" if note else "")
