"""Every service, by the name that scenario files call it."""

from __future__ import annotations

from whimbrel.services.nginx import HLS, STREAM
from whimbrel.services.nothing import NOTHING
from whimbrel.services.service import Installed, Service
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.service import ServiceName

SERVICES: dict[ServiceName, Service] = {service.name: service for service in (NOTHING, STREAM, HLS)}


def service_of(spec: CampaignSpec, arm: str) -> Service:
    """The service of an arm; KeyError when there is no such arm."""
    return SERVICES[spec.find_arm(arm)[0].service]


def images_of_services() -> list[Installed]:
    """What all services together are installed from, each image once."""
    found: list[Installed] = []
    for service in SERVICES.values():
        if service.image is not None and service.image not in found:
            found.append(service.image)
    return found
