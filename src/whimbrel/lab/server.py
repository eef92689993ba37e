"""A server of the lab: a Debian tree in namespaces of its own, with its own libvirtd, QEMU, address and control group."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import quote

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import TrialError
from whimbrel.hosts.host import Capacity, GuestState, Peering, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, HostIdentity
from whimbrel.hosts.states import state_told_by
from whimbrel.spec.lab import QEMU_OVERHEAD_BYTES
from whimbrel.system import memory, netns
from whimbrel.system.certificates import Authority, equip_host
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.folders import make_private
from whimbrel.system.process import Completed, ProcessId, Running, joining, run, start

_READY_S = 60.0

_LIBVIRTD_CONF = """\
listen_tls = {tls}
listen_tcp = {tcp}
listen_addr = "{address}"
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0600"
unix_sock_ro_perms = "0600"
unix_sock_admin_perms = "0600"
host_uuid = "{uuid}"
"""
_QEMU_CONF = """\
cgroup_controllers = []
namespaces = []
security_driver = "none"
max_core = 0
user = "root"
group = "root"
shared_filesystems = ["/srv/shared", "/srv/images"]
"""


@dataclass(frozen=True)
class ServerConfig:
    """What a server is made from and where it lies."""

    name: str
    address: str
    neighbours: dict[str, str]
    memory_bytes: int
    cpus: tuple[int, ...]
    netns: str
    cgroup: str
    tree: Path
    folder: Path
    images: Path
    shared: Path
    tls: bool
    move_address: str

    @property
    def own(self) -> Path:
        """Its own disk, which outlives a power cut; inside it is ``/srv/own``."""
        return self.folder / "own"


class Server:
    """A lab host. Implements ``hosts.host.Host``."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.name = config.name
        self.address = config.address
        self.cgroup = Cgroup(config.cgroup)
        self._running: Running | None = None
        self.access = ServerAccess(self)

    @property
    def libvirt_uri(self) -> str:
        """How we reach its libvirtd: a UNIX socket, so nothing of ours is on the measured links."""
        return f"qemu+unix:///system?socket={quote(str(self.config.folder / 'run' / 'libvirt-sock'))}"

    def hypervisor(self) -> Hypervisor:
        """A connection to the hypervisor at its socket."""
        return hypervisor_at(self.libvirt_uri)

    @property
    def peering(self) -> Peering:
        """Its libvirtd listens on its address, and a guest's memory may take a link of its own. Its certificate is for both."""
        peer_uri = f"qemu+{'tls' if self.config.tls else 'tcp'}://{_host_name(self.name)}/system"
        return Peering(peer_uri, f"tcp://{self.config.move_address}")

    def identity(self) -> HostIdentity:
        """The identity that we have given its libvirtd."""
        return HostIdentity(str(uuid.uuid5(uuid.NAMESPACE_OID, f"whimbrel {self.config.netns}")), _host_name(self.name))

    def start(self) -> None:
        """Boots the server and waits until its libvirtd answers."""
        config = self.config
        self._configure()
        if config.tls:
            equip_host(Authority(config.folder.parent / "ca"), _host_name(self.name), [config.address, config.move_address],
                       config.folder / "upper" / "etc" / "pki")  # fmt: skip
        self.cgroup.create(cpus=config.cpus, memory_bytes=config.memory_bytes)
        with as_file(files("whimbrel.lab") / "server.sh") as script:
            self._running = start(
                [*netns.inside(config.netns), "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "sh", script],
                env={"TREE": str(config.tree), "FOLDER": str(config.folder), "IMAGES": str(config.images),
                     "SHARED": str(config.shared), "NAME": _host_name(config.name)},
                log_file=config.folder / "server.log",
                cgroup_procs=self.cgroup.procs_files,
            )  # fmt: skip
            wait_until(self._look, f"libvirtd of server {self.name}", Deadline(_READY_S))
        with self.hypervisor() as connection:
            connection.prepare()

    def _configure(self) -> None:
        config = self.config
        for inner in ("root", "upper", "work", "run"):
            # What a server that lost its power had written goes with it.
            shutil.rmtree(config.folder / inner, ignore_errors=True)
            (config.folder / inner).mkdir(parents=True)
        # Whoever may connect to libvirtd there is root: its sockets are root's own, in a folder of root's own.
        make_private(config.folder / "run")
        config.own.mkdir(exist_ok=True)
        etc = config.folder / "upper" / "etc"
        (etc / "libvirt").mkdir(parents=True)
        (etc / "libvirt" / "libvirtd.conf").write_text(
            _LIBVIRTD_CONF.format(address=config.address, uuid=self.identity().uuid, tls=int(config.tls), tcp=int(not config.tls))
        )
        (etc / "libvirt" / "qemu.conf").write_text(_QEMU_CONF)
        hosts = {"localhost": "127.0.0.1"} | {_host_name(name): address for name, address in config.neighbours.items()}
        (etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))

    def _look(self) -> tuple[bool | None, str]:
        if self._running is not None and self._running.exit_code is not None:
            raise TrialError(f"server {self.name} ended while it started", details=self.own_log())
        socket = self.config.folder / "run" / "libvirt-sock"
        if not socket.exists():
            return None, f"no socket yet; {self.own_log()[-300:]}"
        try:
            self.hypervisor().close()
        except TrialError as error:
            return None, str(error)
        return True, "ready"

    def own_log(self) -> str:
        """What the server's start printed."""
        file = self.config.folder / "server.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def init(self) -> ProcessId:
        """The process that is PID 1 inside: the server lives as long as it does."""
        for process in self.cgroup.processes():
            if process.pids_inside == (1,):
                return process
        raise TrialError(f"server {self.name} does not run", details=self.own_log()[-500:])

    @property
    def gone(self) -> bool:
        """Whether its PID 1 has ended: the kernel lets that happen only when every other process inside has."""
        return not any(process.pids_inside == (1,) for process in self.cgroup.processes())

    def state_of(self, what: GuestIdentity) -> GuestState:
        """What its libvirtd says of the guest."""
        return state_told_by(self.hypervisor(), what)

    def command(self, argv: Sequence[str], group: str | None = None) -> Sequence[str]:
        """The command that runs ``argv`` in its own group, or one within that, and in its namespaces."""
        procs_files = self.cgroup.procs_files if group is None else self.cgroup.inner_procs_files(group)
        return [*map(str, joining(procs_files)), *self._enter(argv)]

    def run(self, command: Sequence[str], *, check: bool = True, timeout_s: float = 60) -> Completed:
        """Runs a command inside the server, not counted with what the server itself takes."""
        return run(self._enter(command), check=check, timeout_s=timeout_s)

    def _enter(self, argv: Sequence[str]) -> list[str]:
        pid = str(self.init().pid)
        return ["nsenter", "--target", pid, "--mount", "--pid", "--uts", "--ipc", "--net", "--", *argv]

    def seen_from_here(self, path: str) -> Path:
        """A file of the inside as it is seen from here (proc_pid_root(5))."""
        return Path(f"/proc/{self.init().pid}/root{path}")

    def capacity(self) -> Capacity:
        """Memory that no guest has taken, as far as the machine has it, and disk that is free, in bytes."""
        with self.hypervisor() as connection:
            taken_bytes = sum(guest.memory_bytes + QEMU_OVERHEAD_BYTES for guest in connection.running())
        disk = run(["df", "--output=avail", "-B1", self.config.shared]).stdout.split()[-1]
        return Capacity(min(self.config.memory_bytes - taken_bytes, memory.available_bytes()), disk_bytes=int(disk))


class ServerAccess:
    """All of a server can be seen: it is on this machine. Implements ``hosts.host.Access``."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command that runs ``argv`` in its own group and namespaces."""
        return self._server.command(argv)

    @property
    def shares_our_clock(self) -> bool:
        """It does: server and whimbrel run on one kernel."""
        return True

    @property
    def unmeasured(self) -> dict[str, str]:
        """It is empty: everything can be measured."""
        return {}

    def sample_points(self) -> SamplePoints:
        """What the host sampler reads to see this server."""
        return SamplePoints(host=self._server.name, cgroup=self._server.config.cgroup, init_pid=self._server.init().pid)

    def process_of(self, guest: GuestIdentity) -> int | None:
        """QEMU has the guest's UUID on its command line (-uuid UUID)."""
        for process in self._server.cgroup.processes():
            with suppress(OSError):
                words = Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace").split("\0")
                if "qemu-system" in words[0] and guest.uuid in words:
                    return process.pid
        return None

    def logs(self) -> dict[str, str]:
        """The logs of libvirt, QEMU and the guests' consoles, by name."""
        upper = self._server.config.folder / "upper" / "var" / "log"
        found = {f"{self._server.name}-start.log": self._server.own_log()}
        for file in sorted(upper.rglob("*.log")):
            found[f"{self._server.name}-{file.name}"] = file.read_text(errors="replace")
        return found


def _host_name(name: str) -> str:
    return f"server-{name}"
