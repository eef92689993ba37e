"""Saved states of carriers: for each side one in which the container runs, and one that waits for it.

Two carriers of one trial are two VMs with addresses of their own, each from a boot of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import GuestError
from whimbrel.guests import carrier
from whimbrel.guests import guest as the_guest
from whimbrel.guests.domain_xml import DomainPlan, domain_xml
from whimbrel.guests.processors import processor_of
from whimbrel.guests.saving import make_state
from whimbrel.guests.unpacked import UnpackedDisk
from whimbrel.hosts.identity import FIRST_CONTAINER_MAC, GuestIdentity
from whimbrel.hosts.site import Accelerator, Site, carrier_on
from whimbrel.images.jobs import Job
from whimbrel.images.recipes import content_hash
from whimbrel.services.nginx import STREAM
from whimbrel.services.service import Service, image_of, made_of
from whimbrel.spec.fields import HostName
from whimbrel.spec.service import GuestSpec, StreamSpec

CarrierRole = Literal["serving", "waiting"]


@dataclass(frozen=True)
class CarrierState:
    """A saved state of a carrier."""

    id: str
    role: CarrierRole
    vm: GuestIdentity
    accelerator: Accelerator
    versions: dict[str, str]
    disk_used_bytes: int
    folder: Path


@dataclass(frozen=True)
class CarrierPair:
    """From what a trial starts that moves a container: the carrier that serves, and the one that waits."""

    serving: CarrierState
    waiting: CarrierState

    @property
    def id(self) -> str:
        """The serving carrier's: the other has nothing in it."""
        return self.serving.id

    @property
    def accelerator(self) -> Accelerator:
        """The one in which both carriers run."""
        return self.serving.accelerator

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what is installed in both carriers."""
        return self.serving.versions

    @property
    def disk_used_bytes(self) -> int:
        """What the serving carrier uses of its disk."""
        return self.serving.disk_used_bytes

    @property
    def folder(self) -> Path:
        """The folder of the serving carrier's saved state."""
        return self.serving.folder


class CarrierStates:
    """The saved states of a site's carriers; made when they are first asked for."""

    def __init__(self, site: Site, guest: GuestSpec, stream: StreamSpec, service: Service) -> None:
        self._site = site
        self._guest = guest
        self._service = service
        store = site.files.store
        self._container = carrier.container_of(site.guest)
        self._base = store.guest_disk(guest.disk_bytes)
        self._film = store.film(stream.bitrate_bytes_per_s, stream.length_s)
        self.accelerator = site.platform.accelerator(self._base)
        self._processor = processor_of(site, self.accelerator)
        self._disk = UnpackedDisk(site, guest, self.accelerator, self._base, self._film)

    def plan(self, host: HostName) -> tuple[DomainPlan, Path]:
        """The description of a host's carrier, and the image that its disk lies over."""
        vm = carrier_on(self._site, host)
        disk = self._disk.get(image_of(self._service))
        plan = self._plan(vm)
        files = self._site.files.of(vm)
        files.image(self._base / "disk.raw")
        files.image(disk)
        return plan, disk

    def get(self, host: HostName, role: CarrierRole, boot: int) -> CarrierState:
        """The state number ``boot`` (from 1) of one host's carrier."""
        vm, aid = carrier_on(self._site, host), self._site.files.store.criu_aid()
        plan, below = self.plan(host)
        name, content = self._content(vm, role, boot)

        def prepare(agent: GuestAgent) -> dict[str, Any]:
            agent.set_clock()
            carrier.prepare(agent, self._service, self._container, self._site.network.prefix_length, aid.read_bytes())
            if role == "serving":
                carrier.start(agent)
            return {"versions": carrier.versions(agent)}

        folder = self._site.files.store.ensure_named(
            name, content, f"{_what(vm, role, boot)} (a boot of its own)",
            lambda out, _: make_state(self._site, vm, plan, below, out, prepare),
        )  # fmt: skip
        try:
            info = json.loads((folder / "state.json").read_text())
            return CarrierState(name, role, vm, self.accelerator, info["versions"], int(info["disk_used_bytes"]), folder)
        except (OSError, ValueError, KeyError) as error:
            raise GuestError(
                f"the saved state {name} is damaged", details=str(error), resolution=f"'whimbrel images remove {name}'"
            ) from error

    def jobs(self, source: HostName, destination: HostName, boot: int) -> list[Job]:
        """How both states of a pair are made, for those who share such work."""
        return [self._job(source, "serving", boot), self._job(destination, "waiting", boot)]

    def _job(self, host: HostName, role: CarrierRole, boot: int) -> Job:
        vm = carrier_on(self._site, host)
        return Job(self._content(vm, role, boot)[0], _what(vm, role, boot), lambda: self.get(host, role, boot))

    def _content(self, vm: GuestIdentity, role: CarrierRole, boot: int) -> tuple[str, dict[str, Any]]:
        """The state's name, and all that goes into it."""
        content = {"domain": domain_xml(self._plan(vm)), "server": self._site.platform.id,
                   "disk": self._disk.content(image_of(self._service))[0],
                   "role": role, "boot": boot, "container": self._container.address,
                   "criu_aid": self._site.files.store.criu_aid().parent.name, "maker_version": carrier.MAKER_VERSION,
                   **self._processor}  # fmt: skip
        if self._service != STREAM:
            content |= made_of(self._service)
        if self._container.mac != FIRST_CONTAINER_MAC:
            content["container_mac"] = self._container.mac
        return f"state-{vm.name}-{role}-{boot}-{content_hash(content)}", content

    def _plan(self, vm: GuestIdentity) -> DomainPlan:
        return the_guest.plan_vm(self._site, vm, self._guest, self.accelerator, self._base, self._film)

    def pair(self, source: HostName, destination: HostName, boot: int) -> CarrierPair:
        """The pair of saved states from which a move between these hosts starts."""
        return CarrierPair(self.get(source, "serving", boot), self.get(destination, "waiting", boot))


def _what(vm: GuestIdentity, role: CarrierRole, boot: int) -> str:
    return f"saved state {boot} of {vm}, {role}"
