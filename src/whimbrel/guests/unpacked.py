"""A disk over that of our guests, with a service's root file system on it: for carriers, and for a VM whose own service it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whimbrel.guests import carrier
from whimbrel.guests import guest as the_guest
from whimbrel.guests.saving import make_disk
from whimbrel.hosts.site import Accelerator, Site
from whimbrel.images.recipes import content_hash
from whimbrel.services.service import Image
from whimbrel.spec.service import GuestSpec


@dataclass(frozen=True)
class UnpackedDisk:
    """Of a site's guests: ``base`` is the folder of the disk that it lies over, ``film`` that of the film beside it."""

    site: Site
    guest: GuestSpec
    accelerator: Accelerator
    base: Path
    film: Path

    def get(self, image: Image) -> Path:
        """The disk, made when it is not there."""
        store = self.site.files.store
        payload = store.container_payload(image)
        name, content = self.content(image)
        plan = the_guest.plan_vm(
            self.site, self.site.guest, self.guest, self.accelerator, self.base, self.film, payload
        )  # fmt: skip
        folder = store.ensure_named(
            name, content, "a disk with the container on it (boots once to unpack it)",
            lambda out, _: make_disk(self.site, self.site.guest, plan, self.base / "disk.raw", out, carrier.unpack),
        )  # fmt: skip
        return folder / "disk.qcow2"

    def content(self, image: Image) -> tuple[str, dict[str, Any]]:
        """Its name, and what goes into it."""
        payload = self.site.files.store.container_payload(image)
        content = {"base": self.base.name, "payload": payload.name, "server": self.site.platform.id, "maker_version": 1}
        return f"carrier-{content_hash(content)}", content
