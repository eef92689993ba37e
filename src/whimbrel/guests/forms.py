"""The forms a service takes: in the VM itself, or in a Docker container nested in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import GuestEndedError, GuestError
from whimbrel.guests.guest import announce, start_beside
from whimbrel.guests.scripts import run_script
from whimbrel.hosts.inside import Inside
from whimbrel.services.service import CloudDisk, Service
from whimbrel.spec.service import DirtierSpec, FormName

# Emulated guests are slow to start a container engine; these are limits, not expectations.
_START_S = 180.0
_CLOUD_S = 600.0
_CONTAINER = "origin"
_NEIGHBOUR_PORT = 8090
_IDENTITY = "{{.Id}} {{.State.StartedAt}} running={{.State.Running}}"


@dataclass(frozen=True)
class Identity:
    """What must be the same after a move: the boot, and the container where there is one."""

    boot_id: str
    container_id: str | None


class Form(Protocol):
    """How a service is packaged."""

    name: FormName

    def start_service(self, inside: Inside, service: Service) -> None:
        """Starts the service; ``wait_for_service`` says when it is ready."""

    def identity(self, inside: Inside) -> Identity:
        """What tells this copy from every other."""

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        """Versions of what serves, as the programs say them."""

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        """Starts asking between the VM's service and the container's; False where there is no container, or none over HTTP."""


class VmForm:
    """The service runs in the VM itself. Implements ``Form``."""

    name: FormName = "vm"

    def start_service(self, inside: Inside, service: Service) -> None:
        """Starts it as one of the VM's own; one that cloud-init prepares is there once that has ended."""
        if isinstance(service.image, CloudDisk):
            run_script(inside, "cloud_wait", timeout_s=_CLOUD_S)
        if service.start:
            inside.shell(service.start, timeout_s=_START_S)

    def identity(self, inside: Inside) -> Identity:
        """The id of the guest's boot; there is no container."""
        return Identity(_boot_id(inside), None)

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        """The versions of the service's programs."""
        return {program: inside.shell(ask).strip() for program, ask in service.versions.items()}

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        """Starts nothing: a VM alone has no neighbour to ask."""
        return False


class NestedForm:
    """The service runs in a Docker container with published ports, in the VM. Implements ``Form``."""

    name: FormName = "nested"

    def start_service(self, inside: Inside, service: Service) -> None:
        """Starts the VM's own small service, Docker, and the container, which may be there from before."""
        start_engine(inside)
        run_script(inside, "nested_start", service.command, *service.ports, timeout_s=_START_S)

    def identity(self, inside: Inside) -> Identity:
        """The boot's id and the container's, with its start and whether it runs: a restarted or dead one is another."""
        container = inside.run(["docker", "inspect", "--format", _IDENTITY, _CONTAINER])
        return Identity(_boot_id(inside), container.strip())

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        """The versions of the service's programs in the container, and Docker's."""
        inner = ["docker", "exec", _CONTAINER, "sh", "-c"]
        found = {program: inside.run([*inner, ask]).strip() for program, ask in service.versions.items()}
        return found | engine_versions(inside)

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        """Asks the container from the VM, and the VM from inside the container's network, over HTTP."""
        if service.http_port is None:
            return False
        run_script(inside, "nested_reach", every_s, service.http_port, _NEIGHBOUR_PORT)
        return True


FORMS: dict[FormName, Form] = {"vm": VmForm(), "nested": NestedForm()}


def start_engine(inside: Inside) -> None:
    """Starts Docker, whether or not a container is to run in it."""
    inside.run(["systemctl", "start", "docker.service"], timeout_s=_START_S)


def engine_versions(inside: Inside) -> dict[str, str]:
    """The version of Docker, as its server says."""
    return {"docker": inside.run(["docker", "version", "--format", "{{.Server.Version}}"]).strip()}


def import_container(inside: Inside) -> None:
    """Makes the container's image from the payload disk; done once, when the nested disk is made."""
    run_script(inside, "nested_import", timeout_s=600)


def wait_for_service(inside: Inside, service: Service) -> None:
    """Waits until the service takes connections in the guest, on every port of it; GuestError when it does not in time."""
    if not service.ports:
        return
    try:
        run_script(inside, "ports_wait", *service.ports, timeout_s=30 * len(service.ports) + 30)
    except GuestEndedError:
        raise
    except GuestError as error:
        said = run_script(inside, "service_words") if service.name == "own" else error.details
        ports = " and ".join(map(str, service.ports))
        raise GuestError(f"the service takes no connections on {ports} in the guest", details=said) from error


def start_again(agent: GuestAgent, form: FormName, service: Service, dirtier: DirtierSpec | None, witness: bool) -> None:
    """After a boot: the clock, word to its neighbours of where it is now, the service, and what ran beside it."""
    agent.set_clock()
    announce(agent)
    FORMS[form].start_service(agent, service)
    wait_for_service(agent, service)
    start_beside(agent, dirtier, witness)


def read_reach_log(inside: Inside) -> list[str]:
    """The lines that the reach check has written so far."""
    return inside.run(["cat", "/run/reach.log"], check=False).splitlines()


def _boot_id(inside: Inside) -> str:
    return inside.read("/proc/sys/kernel/random/boot_id").decode().strip()
