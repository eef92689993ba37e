"""The forms a service takes: in the VM itself, or in a Docker container nested in it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.guests.guest import announce, start_beside
from whimbrel.guests.readiness import wait_for_ports
from whimbrel.hosts.inside import Inside
from whimbrel.services.service import Service
from whimbrel.spec.service import DirtierSpec, FormName

# Emulated guests are slow to start a container engine; these are limits, not expectations.
_START_S = 180.0
_CONTAINER = "origin"
_NEIGHBOUR_PORT = 8090


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
        """Starts asking between the VM's service and the container's; False where there is no container."""


class VmForm:
    """The service runs in the VM itself. Implements ``Form``."""

    name: FormName = "vm"

    def start_service(self, inside: Inside, service: Service) -> None:
        """Starts it as one of the VM's own."""
        if service.start:
            inside.shell(service.start, timeout_s=_START_S)

    def identity(self, inside: Inside) -> Identity:
        """The id of the guest's boot; there is no container."""
        return Identity(_boot_id(inside), None)

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        """Those of the service's programs."""
        return {program: inside.shell(ask).strip() for program, ask in service.versions.items()}

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        """A VM alone has no neighbour."""
        return False


class NestedForm:
    """The service runs in a Docker container with published ports, in the VM. Implements ``Form``."""

    name: FormName = "nested"

    def start_service(self, inside: Inside, service: Service) -> None:
        """Starts the VM's own small service, Docker, and the container, which may be there from before."""
        start_engine(inside)
        inside.shell("systemctl start neighbour.service", timeout_s=_START_S)
        inside.shell(
            f"docker start {_CONTAINER} 2>/dev/null ||"
            f" docker run --detach --name {_CONTAINER} {' '.join(f'--publish {port}:{port}' for port in service.ports)}"
            f" --volume /srv/film:/srv/film:ro {_CONTAINER} {service.command}",
            timeout_s=_START_S,
        )

    def identity(self, inside: Inside) -> Identity:
        """The boot's id and the container's, with its start and whether it runs: a restarted or dead one is another."""
        container = inside.shell(
            f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}} running={{{{.State.Running}}}}' {_CONTAINER}"
        )
        return Identity(_boot_id(inside), container.strip())

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        """Those of the service's programs in the container, and Docker's."""
        asked = {program: f"docker exec {_CONTAINER} sh -c {shlex.quote(ask)}" for program, ask in service.versions.items()}
        return {program: inside.shell(ask).strip() for program, ask in asked.items()} | engine_versions(inside)

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        """Asks the container from the VM, and the VM from inside the container's network."""
        inside.shell(
            f"""set -e
            pid=$(docker inspect --format '{{{{.State.Pid}}}}' {_CONTAINER})
            inner=$(docker inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' {_CONTAINER})
            outer=$(docker inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.Gateway}}}}{{{{end}}}}' {_CONTAINER})
            systemd-run --unit=reach-container --property=StandardOutput=append:/run/reach.log \
                /usr/local/bin/reach vm-to-container "$inner" {service.ports[-1]} {every_s}
            systemd-run --unit=reach-vm --property=StandardOutput=append:/run/reach.log \
                nsenter --net="/proc/$pid/ns/net" \
                /usr/local/bin/reach container-to-vm "$outer" {_NEIGHBOUR_PORT} {every_s}
            """,
        )
        return True


FORMS: dict[FormName, Form] = {"vm": VmForm(), "nested": NestedForm()}


def start_engine(inside: Inside) -> None:
    """Starts Docker, whether or not a container is to run in it."""
    inside.shell("systemctl start docker.service", timeout_s=_START_S)


def engine_versions(inside: Inside) -> dict[str, str]:
    """Docker, as its server says."""
    return {"docker": inside.shell("docker version --format '{{.Server.Version}}'").strip()}


def import_container(inside: Inside) -> None:
    """Makes the container's image from the payload disk; done once, when the nested disk is made."""
    inside.shell(
        f"mkdir -p /run/payload && mount -o ro /dev/vdc /run/payload && systemctl start docker.service"
        f" && docker import /run/payload/rootfs.tar {_CONTAINER} && umount /run/payload"
        f" && systemctl stop docker.service docker.socket containerd.service && sync",
        timeout_s=600,
    )


def wait_for_service(inside: Inside, service: Service) -> None:
    """Waits until the service takes connections in the guest, on every port of it; GuestError when it does not in time."""
    wait_for_ports(inside, service.ports)


def start_again(agent: GuestAgent, form: FormName, service: Service, dirtier: DirtierSpec | None, witness: bool) -> None:
    """After a boot: the clock, word to its neighbours of where it is now, the service, and what ran beside it."""
    agent.set_clock()
    announce(agent)
    FORMS[form].start_service(agent, service)
    wait_for_service(agent, service)
    start_beside(agent, dirtier, witness)


def read_reach_log(inside: Inside) -> list[str]:
    """The lines that the reach check has written so far."""
    return inside.shell("cat /run/reach.log 2>/dev/null || true").splitlines()


def _boot_id(inside: Inside) -> str:
    return inside.shell("cat /proc/sys/kernel/random/boot_id").strip()
