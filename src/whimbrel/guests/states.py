"""Saved states: guests that were booted, given their service, left to settle and saved, each from a boot of its own.

A trial that starts from one begins in under a second, and begins as every other trial of its arm does. Trials take
turns among several, so that no finding rests on one boot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import GuestError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.domain_xml import DomainPlan, domain_xml
from whimbrel.guests.forms import FORMS, engine_versions, import_container, start_engine, wait_for_service
from whimbrel.guests.processors import processor_of
from whimbrel.guests.saving import make_disk, make_state
from whimbrel.guests.unpacked import UnpackedDisk
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import Accelerator, Site
from whimbrel.images.jobs import Job
from whimbrel.images.recipes import content_hash
from whimbrel.services.registry import SERVICES
from whimbrel.services.service import CloudDisk, Image, Service, image_of, made_of
from whimbrel.spec.arms import EngineName
from whimbrel.spec.service import FormName, GuestSpec, ServiceName, StreamSpec


@dataclass(frozen=True)
class StateInfo:
    """What is known of a saved state."""

    id: str
    form: FormName
    service: ServiceName
    boot: int
    accelerator: Accelerator
    boot_id: str
    container_id: str | None
    versions: dict[str, str]
    dirty_rate_mib_per_s: list[int]
    disk_used_bytes: int
    folder: Path


class StateStore:
    """The saved states of a site's guests; made when they are first asked for. ``own`` is the user's own service, if any."""

    def __init__(self, site: Site, guest: GuestSpec, stream: StreamSpec, own: Service | None = None) -> None:
        self._services = SERVICES if own is None else {**SERVICES, own.name: own}
        self._site = site
        self._guest = guest
        self._files = site.files.of(site.guest)
        store = site.files.store
        self._base = store.guest_disk(guest.disk_bytes)
        self._film = store.film(stream.bitrate_bytes_per_s, stream.length_s)
        self.accelerator = site.platform.accelerator(self._base)
        self._processor = processor_of(site, self.accelerator)
        # One that boots by itself takes the place of ours.
        self._cloud = own.image if own is not None and isinstance(own.image, CloudDisk) else None
        self._unpacked = UnpackedDisk(site, guest, self.accelerator, self._base, self._film)

    def get(self, form: FormName, service: ServiceName, boot: int, engine: EngineName = "none") -> StateInfo:
        """The state number ``boot`` (from 1) of a form; with an ``engine`` that idles in it, where one is asked for."""
        # What the state's disk lies over must be where the hosts look for it, also when the state was made long ago.
        disk = self.disk_of(form, self._services[service])
        name, content = self._content(form, service, boot, engine)
        folder = self._site.files.store.ensure_named(
            name, content, f"{_what(form, service, boot, engine)} (a boot of its own)",
            lambda out, _: self._make(out, form, self._services[service], disk, engine),
        )  # fmt: skip
        try:
            info = json.loads((folder / "state.json").read_text())
            (folder / "memory.save").stat()
            return StateInfo(id=name, form=form, service=service, boot=boot, folder=folder, **info)
        except (OSError, ValueError, TypeError) as error:
            raise GuestError(
                f"the saved state {name} is damaged",
                details=str(error),
                resolution=f"'whimbrel images remove {name}' and run again",
            ) from error

    def disk_of(self, form: FormName, service: Service) -> Path:
        """The image that disks of guests of this form lie over, where the hosts look for it."""
        self._files.image(self._base / "disk.raw")
        if self._cloud is not None and service.name == "own":
            disk = self._site.files.store.cloud_disk(self._cloud)
        elif form == "nested":
            disk = self._nested_disk(image_of(service)) / "disk.qcow2"
        elif service.name == "own":
            disk = self._unpacked.get(image_of(service))
        else:
            return self._base / "disk.raw"
        self._files.image(disk)
        return disk

    def plan_for(self, site: Site, identity: GuestIdentity) -> DomainPlan:
        """The description of a VM like those of the states, of this identity at a site."""
        if self._cloud is None:
            return the_guest.plan_vm(site, identity, self._guest, self.accelerator, self._base, self._film)
        address = f"{identity.address}/{site.network.prefix_length}"
        seed = self._site.files.store.seed(self._cloud, identity.mac, address)
        return the_guest.plan_vm(site, identity, self._guest, self.accelerator, None, seed)

    def job(self, form: FormName, service: ServiceName, boot: int, engine: EngineName = "none") -> Job:
        """How the state is made, for those who share such work."""
        name, _ = self._content(form, service, boot, engine)
        return Job(name, _what(form, service, boot, engine), lambda: self.get(form, service, boot, engine))

    def _content(self, form: FormName, service: ServiceName, boot: int, engine: EngineName) -> tuple[str, dict[str, Any]]:
        """The state's name, and all that goes into it."""
        plan = self.plan_for(self._site, self._site.guest)
        content = {
            "domain": domain_xml(plan),
            "server": self._site.platform.id,
            "disk": self._disk_name(form, self._services[service]),
            "form": form,
            "boot": boot,
            **made_of(self._services[service]),
            "maker_version": 1,
            **self._processor,
        }
        if engine != "none":
            content["engine"] = engine
        return f"state-{form}-{service}-{boot}-{content_hash(content)}", content

    def _disk_name(self, form: FormName, service: Service) -> str:
        if self._cloud is not None:
            return self._site.files.store.cloud_disk(self._cloud).parent.name
        if form == "nested":
            return self._nested_content(image_of(service))[0]
        return self._unpacked.content(image_of(service))[0] if service.name == "own" else self._base.name

    def _nested_content(self, image: Image) -> tuple[str, dict[str, Any]]:
        content = {
            "base": self._base.name,
            "payload": self._site.files.store.container_payload(image).name,
            "server": self._site.platform.id,
        }
        return f"nested-{content_hash(content)}", content

    def _nested_disk(self, image: Image) -> Path:
        """The guest's disk with the container's image already in its Docker engine."""
        payload = self._site.files.store.container_payload(image)
        name, content = self._nested_content(image)
        return self._site.files.store.ensure_named(
            name, content, "the nested guest's disk (boots once to import the container)",
            lambda out, _: self._import(out, payload),
        )  # fmt: skip

    def _import(self, out: Path, payload: Path) -> None:
        plan = the_guest.plan_vm(self._site, self._site.guest, self._guest, self.accelerator, self._base, self._film, payload)
        make_disk(self._site, self._site.guest, plan, self._base / "disk.raw", out, import_container)

    def _make(self, out: Path, form: FormName, service: Service, disk: Path, engine: EngineName) -> None:
        plan = self.plan_for(self._site, self._site.guest)

        def prepare(agent: GuestAgent) -> dict[str, Any]:
            versions: dict[str, str] = {"kernel": agent.run(["uname", "-r"]).strip()}
            if engine != "none":
                start_engine(agent)
                versions |= engine_versions(agent)
            FORMS[form].start_service(agent, service)
            wait_for_service(agent, service)
            versions |= FORMS[form].versions(agent, service)
            return {"accelerator": self.accelerator, **asdict(FORMS[form].identity(agent)), "versions": versions}

        make_state(self._site, self._site.guest, plan, disk, out, prepare)


def _what(form: FormName, service: ServiceName, boot: int, engine: EngineName) -> str:
    idle = "" if engine == "none" else f", {engine} idle"
    return f"saved state {boot} of form {form}, service {service}{idle}"
