"""Saved states: guests that were booted, given their service, left to settle and saved, each from a boot of its own.

A trial that starts from one begins in under a second, and begins as every other trial of its arm does. Trials take
turns among several, so that no finding rests on one boot.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from whimbrel.engines.domain import Domain
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import GuestError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.domain_xml import DomainPlan, domain_xml
from whimbrel.guests.forms import FORMS, engine_versions, import_container, start_engine, wait_for_service
from whimbrel.hosts.site import Accelerator, Site
from whimbrel.images.recipes import content_hash
from whimbrel.spec.arms import EngineName
from whimbrel.spec.service import FormName, GuestSpec, ServiceName, StreamSpec

log = logging.getLogger(__name__)

_SETTLE_WINDOW_S = 1
_SETTLE_READINGS = 5
_SETTLE_TRIES = 60
_FLAT_MIB_PER_S = 2
_FLAT_SHARE = 0.25


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
    """The saved states of a site's guests; made when they are first asked for."""

    def __init__(self, site: Site, guest: GuestSpec, stream: StreamSpec) -> None:
        self._site = site
        self._guest = guest
        self._files = site.files_of(the_guest.GUEST_NAME)
        store = site.store
        self._base = store.guest_disk(guest.disk_bytes)
        self._film = store.film(stream.bitrate_bytes_per_s, stream.length_s)
        self.accelerator = site.accelerator(self._base)

    def get(self, form: FormName, service: ServiceName, boot: int, engine: EngineName = "none") -> StateInfo:
        """The state number ``boot`` (from 1) of a form; with an ``engine`` that idles in it, where one is asked for."""
        disk = self._nested_disk() if form == "nested" else self._base
        plan = the_guest.plan_domain(self._site, self._guest, self.accelerator, self._base, self._film)
        # What the state's disk lies over must be where the hosts look for it, also when the state was made long ago.
        self._files.image(self._base / "disk.raw")
        if form == "nested":
            self._files.image(disk / "disk.qcow2")
        content = {
            "domain": domain_xml(plan),
            "server": self._site.platform,
            "disk": disk.name,
            "form": form,
            "service": service,
            "boot": boot,
            "maker_version": 1,
        }
        if engine != "none":
            content["engine"] = engine
        idle = "" if engine == "none" else f", {engine} idle"
        name = f"state-{form}-{service}-{boot}-{content_hash(content)}"
        folder = self._site.store.ensure_named(
            name, content, f"saved state {boot} of form {form}, service {service}{idle} (a boot of its own)",
            lambda out, _: self._make(out, form, service, disk, engine),
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

    def _nested_disk(self) -> Path:
        """The guest's disk with the container's image already in its Docker engine."""
        payload = self._site.store.container_payload()
        content = {
            "base": self._base.name,
            "payload": payload.name,
            "server": self._site.platform,
        }
        return self._site.store.ensure_named(
            f"nested-{content_hash(content)}", content, "the nested guest's disk (boots once to import the container)",
            lambda out, _: self._import(out, payload),
        )  # fmt: skip

    def _import(self, out: Path, payload: Path) -> None:
        plan = the_guest.plan_domain(self._site, self._guest, self.accelerator, self._base, self._film, payload)
        self._files.new_disk(self._base / "disk.raw", "raw")

        def prepare(domain: Domain, agent: GuestAgent) -> None:
            import_container(agent)
            the_guest.power_off(domain, agent)

        self._with_booted(plan, prepare)
        self._files.take_disk(out / "disk.qcow2")

    def _make(self, out: Path, form: FormName, service: ServiceName, disk: Path, engine: EngineName) -> None:
        nested = form == "nested"
        self._files.new_disk(disk / ("disk.qcow2" if nested else "disk.raw"), "qcow2" if nested else "raw")
        plan = the_guest.plan_domain(self._site, self._guest, self.accelerator, self._base, self._film)

        def prepare(domain: Domain, agent: GuestAgent) -> None:
            versions: dict[str, str] = {"kernel": agent.shell("uname -r").strip()}
            if engine != "none":
                start_engine(agent)
                versions |= engine_versions(agent)
            if service != "none":
                FORMS[form].start_service(agent)
                wait_for_service(agent, service)
                versions |= FORMS[form].versions(agent)
            identity = FORMS[form].identity(agent)
            used = int(agent.shell("df --output=used -B1 / | tail -1"))
            agent.shell("sync")
            readings = settle(lambda: domain.dirty_rate_mib_per_s(_SETTLE_WINDOW_S))
            domain.save(self._files.saving)
            info = {"accelerator": self.accelerator, **asdict(identity), "versions": versions,
                    "dirty_rate_mib_per_s": readings, "disk_used_bytes": used}  # fmt: skip
            (out / "state.json").write_text(json.dumps(info, indent=1))

        self._with_booted(plan, prepare)
        self._files.take(out / "memory.save", out / "disk.qcow2")

    def _with_booted(self, plan: DomainPlan, use: Callable[[Domain, GuestAgent], None]) -> None:
        """Boots the guest on host A, uses it, and takes its power away whatever happens."""
        with Connection.open(self._site.host_a.libvirt_uri) as connection:
            try:
                domain, agent = the_guest.boot(connection, plan)
                use(domain, agent)
            finally:
                left = connection.find(the_guest.GUEST_NAME)
                if left is not None:
                    left.destroy()


def settle(read: Callable[[], int]) -> list[int]:
    """Reads the dirty rate (MiB/s) until five readings in a row are alike; returns all; GuestError when they never are."""
    readings: list[int] = []
    for _ in range(_SETTLE_TRIES):
        readings.append(read())
        if is_flat(readings):
            return readings
    raise GuestError(f"the guest did not settle: its dirty rate (MiB/s) stayed uneven over {_SETTLE_TRIES} readings",
                     details=str(readings))  # fmt: skip


def is_flat(readings: list[int]) -> bool:
    """Whether the last five readings (MiB/s) differ by little: 2 MiB/s, or a quarter of their mean."""
    last = readings[-_SETTLE_READINGS:]
    if len(last) < _SETTLE_READINGS:
        return False
    return max(last) - min(last) <= max(_FLAT_MIB_PER_S, _FLAT_SHARE * sum(last) / len(last))
