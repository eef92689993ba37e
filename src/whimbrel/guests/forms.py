"""The forms a service takes: in the VM itself, or in a Docker container nested in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.guests.guest import announce, start_beside
from whimbrel.hosts.inside import Inside
from whimbrel.spec.service import DirtierSpec, FormName, ServiceName

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

    def start_service(self, inside: Inside) -> None:
        """Starts the stream's origin and waits until it answers."""

    def identity(self, inside: Inside) -> Identity:
        """What tells this copy from every other."""

    def versions(self, inside: Inside) -> dict[str, str]:
        """Versions of what serves, as the programs say them."""

    def start_reach_check(self, inside: Inside, every_s: float) -> bool:
        """Starts asking between the VM's service and the container's; False where there is no container."""


class VmForm:
    """nginx runs in the VM. Implements ``Form``."""

    name: FormName = "vm"

    def start_service(self, inside: Inside) -> None:
        """Starts nginx in the VM itself."""
        inside.shell("systemctl start nginx.service", timeout_s=_START_S)

    def identity(self, inside: Inside) -> Identity:
        """The id of the guest's boot; there is no container."""
        return Identity(_boot_id(inside), None)

    def versions(self, inside: Inside) -> dict[str, str]:
        """The version of nginx."""
        return {"nginx": inside.shell("nginx -v 2>&1").strip().rpartition("/")[2]}

    def start_reach_check(self, inside: Inside, every_s: float) -> bool:
        """A VM alone has no neighbour."""
        return False


class NestedForm:
    """nginx runs in a Docker container with published ports, in the VM. Implements ``Form``."""

    name: FormName = "nested"

    def start_service(self, inside: Inside) -> None:
        """Starts the VM's own small service, Docker, and the container, which may be there from before."""
        start_engine(inside)
        inside.shell("systemctl start neighbour.service", timeout_s=_START_S)
        inside.shell(
            f"docker start {_CONTAINER} 2>/dev/null ||"
            f" docker run --detach --name {_CONTAINER} --publish 1935:1935 --publish 80:80"
            f" --volume /srv/film:/srv/film:ro {_CONTAINER} nginx -g 'daemon off;'",
            timeout_s=_START_S,
        )

    def identity(self, inside: Inside) -> Identity:
        """The boot's id and the container's, with its start and whether it runs: a restarted or dead one is another."""
        container = inside.shell(
            f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}} running={{{{.State.Running}}}}' {_CONTAINER}"
        )
        return Identity(_boot_id(inside), container.strip())

    def versions(self, inside: Inside) -> dict[str, str]:
        """nginx in the container, and Docker."""
        nginx = inside.shell(f"docker exec {_CONTAINER} nginx -v 2>&1").strip().rpartition("/")[2]
        return {"nginx": nginx, **engine_versions(inside)}

    def start_reach_check(self, inside: Inside, every_s: float) -> bool:
        """Asks the container from the VM, and the VM from inside the container's network."""
        inside.shell(
            f"""set -e
            pid=$(docker inspect --format '{{{{.State.Pid}}}}' {_CONTAINER})
            inner=$(docker inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' {_CONTAINER})
            outer=$(docker inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.Gateway}}}}{{{{end}}}}' {_CONTAINER})
            systemd-run --unit=reach-container --property=StandardOutput=append:/run/reach.log \
                /usr/local/bin/reach vm-to-container "$inner" 80 {every_s}
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


def wait_for_service(inside: Inside, service: ServiceName) -> None:
    """Waits until the origin answers in the guest, the way its viewers will ask: port 80 and port 1935."""
    if service == "stream":
        inside.shell(
            "i=0; until bash -c 'exec 3<>/dev/tcp/127.0.0.1/1935 && exec 4<>/dev/tcp/127.0.0.1/80' 2>/dev/null;"
            " do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done",
            timeout_s=60,
        )


def start_again(agent: GuestAgent, form: FormName, service: ServiceName, dirtier: DirtierSpec | None, witness: bool) -> None:
    """After a boot: the clock, word to its neighbours of where it is now, the service, and what ran beside it."""
    agent.set_clock()
    announce(agent)
    if service != "none":
        FORMS[form].start_service(agent)
        wait_for_service(agent, service)
    start_beside(agent, dirtier, witness)


def read_reach_log(inside: Inside) -> list[str]:
    """The lines that the reach check has written so far."""
    return inside.shell("cat /run/reach.log 2>/dev/null || true").splitlines()


def _boot_id(inside: Inside) -> str:
    return inside.shell("cat /proc/sys/kernel/random/boot_id").strip()
