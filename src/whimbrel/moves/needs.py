"""What the trials of a campaign need that takes long to make: images, and saved states of their guests."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence

from whimbrel.checks.written import need_figures, parsed
from whimbrel.errors import CapabilityError
from whimbrel.images import jobs
from whimbrel.images.jobs import Job
from whimbrel.images.store import ImageStore
from whimbrel.moves.starts import Starts
from whimbrel.records.trial import Plan
from whimbrel.services.client import CLIENTS
from whimbrel.services.registry import service_of
from whimbrel.services.service import Image
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.capabilities import Finding

# A trial's settings, as they are in its arm, and its plan.
Wanted = tuple[CampaignSpec, Plan]


def wanted_of(spec: CampaignSpec, plans: Iterable[Plan]) -> list[Wanted]:
    """The trials that need something of their own; others are left out."""
    unlike = {(plan.arm, plan.source, plan.state_boot): plan for plan in reversed(list(plans))}
    arms = {plan.arm: spec.in_arm(spec.find_arm(plan.arm)[1]) for plan in unlike.values()}
    return [(arms[plan.arm], plan) for plan in reversed(unlike.values())]


def examine_clients(spec: CampaignSpec | None) -> list[Finding]:
    """Whether other programs that viewers are made of are installed here: those that a file needs, or all where none is named."""
    arms = [arm for scenario in spec.scenarios for arm in scenario.every_arm] if spec is not None else []
    findings = []
    for client in CLIENTS.values():
        if client.program is not None:
            found = shutil.which(client.program)
            packages = " ".join(client.packages)
            how = f"not installed; './whimbrel run' installs it ({packages}) for a file with {client.key}"
            needed = any(client.number_in(arm) for arm in arms)
            if spec is None or needed:
                findings.append(Finding(f"{client.called} for {client.key}", found is not None, needed, found or how))
    return findings


def need_clients(spec: CampaignSpec) -> None:
    """CapabilityError when a program is not installed that viewers of this file are made of."""
    for finding in examine_clients(spec):
        if finding.needed and not finding.works:
            raise CapabilityError(f"{finding.name}: {finding.seen}")


def need_checks(spec: CampaignSpec) -> None:
    """UsageError when a check says what cannot be, in whichever arm, or a figure is asked for of a check that is not there."""
    figures = [*spec.thresholds, *(spec.evidence.figures if spec.evidence is not None else ())]
    for scenario in spec.scenarios:
        for arm in scenario.every_arm:
            service = spec.in_arm(arm).service
            checks = [parsed(check) for check in (service.checks if service is not None else ())]
            need_figures(checks, [*figures, *scenario.thresholds])


def image_jobs(wanted: Sequence[Wanted], store: ImageStore) -> list[Job]:
    """The images under these trials, what takes longest first; an image that lies under another is made with that."""
    found: list[Job] = []
    for spec, plan in wanted:
        if plan.form != "container":
            found.append(jobs.guest_disk(store, spec.guest.disk_bytes))
    for spec, _ in wanted:
        if spec.hosts is None:
            found.append(jobs.server_tree(store, spec.lab.suite))
    for spec, plan in wanted:
        service = service_of(spec, plan.arm)
        if not isinstance(service.image, Image):
            continue
        if plan.form == "container":
            found += [jobs.container_tree(store, service.image), jobs.criu_aid(store)]
        elif spec.migration.moves == "container":
            found += [jobs.container_payload(store, service.image), jobs.criu_aid(store)]
        elif plan.form == "nested" or service.name == "own":
            found.append(jobs.container_payload(store, service.image))
    found += [jobs.film(store, spec.stream.bitrate_bytes_per_s, spec.stream.length_s) for spec, _ in wanted]
    return found


def state_jobs(wanted: Sequence[Wanted], starts: Starts) -> list[Job]:
    """The saved states that these trials start from, what takes longest first."""
    nested_first = sorted(wanted, key=lambda each: each[1].form != "nested")
    return [job for spec, plan in nested_first for job in starts.jobs(spec, plan)]
