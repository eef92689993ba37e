"""Every service: those of ours by the name that scenario files call them, and the user's own by what a file says of it."""

from __future__ import annotations

from whimbrel.services.nginx import HLS, STREAM
from whimbrel.services.nothing import NOTHING
from whimbrel.services.own import own_service
from whimbrel.services.service import Installed, Service
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.service import ServiceName

SERVICES: dict[ServiceName, Service] = {service.name: service for service in (NOTHING, STREAM, HLS)}


def service_of(spec: CampaignSpec, arm: str) -> Service:
    """The service of an arm; ``spec`` as it is in that. KeyError when there is none, UsageError for a file that is no archive."""
    if spec.own_image is not None and spec.service is not None:
        return own_service(spec.service, spec.own_image)
    return SERVICES[spec.find_arm(arm)[0].service]


def images_of_services() -> list[Installed]:
    """What all services of ours together are installed from, each image once."""
    found: list[Installed] = []
    for service in SERVICES.values():
        if isinstance(service.image, Installed) and service.image not in found:
            found.append(service.image)
    return found
