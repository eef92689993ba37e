"""A cell: room on a server for a container that runs on the server itself, and for what moves it.

Mount, PID and control-group namespaces of its own within the server's, whose network it shares. Its first process holds it all:
whoever kills that ends everything inside, as taking its power away ends a VM.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from whimbrel.durable import replace_text
from whimbrel.errors import CapabilityError, GuestError, ToolError, UsageError
from whimbrel.hosts.host import Host
from whimbrel.lab.server import Server
from whimbrel.spec.fields import HostName
from whimbrel.system import cgroups
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import ProcessId, Running, run, start

_READY_S = 20.0
# A job that is told to end has this long for it.
_END_OF_JOB_S = 40
# The server's group has one for each cell. Inside the cell that is the root, which runc hands controllers down from, so that no
# process may be in it (admin-guide/cgroup-v2.rst, "No Internal Process Constraint"): those of the cell itself lie in a leaf.
_LEAF = "own"
_JOBS = "/sys/fs/cgroup/jobs"
# Tells the job's own process, and no other that got its number; then ends what is left of its group.
_END_JOB = """
group=$1 pid_file=$2 tenths=$3
[ -d "$group" ] || exit 0
read -r pid <"$pid_file" && grep -qx "$pid" "$group/cgroup.procs" && kill -TERM "$pid"
while [ "$tenths" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do tenths=$((tenths - 1)); sleep 0.1; done
echo 1 >"$group/cgroup.kill"
tenths=50
until rmdir "$group" 2>/dev/null; do tenths=$((tenths - 1)); [ "$tenths" -gt 0 ] || exit 1; sleep 0.1; done
"""


def cell_command() -> list[str]:
    """What makes a cell of the process that runs it, which must be alone in its control group."""
    room = files("whimbrel.lab")
    enter, script = (room / "cell_group.sh").read_text(), (room / "cell.sh").read_text()
    return ["unshare", "--mount", "--cgroup", "sh", "-c", enter, "enter", "unshare", "--pid", "--fork", "sh", "-c", script]


class LabCell:
    """A cell of a lab's server, for the container of the lab's guest ``number``. Implements ``hosts.inside.Cell``."""

    def __init__(self, server: Server, number: int = 1, running: Running | None = None, init: ProcessId | None = None) -> None:
        self._server = server
        self._group = _group_of(number)
        # None where another process of ours started it.
        self._running = running
        self._init = init

    @classmethod
    def find(cls, server: Server, number: int = 1) -> LabCell | None:
        """The cell that was made on a server and left there; None when there is none."""
        init = _first_process(server, _group_of(number))
        return None if init is None else cls(server, number, init=init)

    @classmethod
    def open(cls, server: Server, number: int = 1) -> LabCell:
        """Makes one; UsageError when the server has one of this number already."""
        group = _group_of(number)
        if cgroups.hierarchies().core is None:
            raise CapabilityError(
                "a container on a server is frozen and ended by version 2 of control groups, which is not mounted here",
                resolution="mount cgroup2 at /sys/fs/cgroup/unified, or move containers between VMs (form 'nested')",
            )
        if _first_process(server, group) is not None:
            raise UsageError(
                f"server {server.name} already has a container",
                resolution="'whimbrel undeploy' it, or take the lab down ('whimbrel lab down')",
            )
        # A cell that died with its server may have left a group that is frozen.
        server.cgroup.remove_inner(group)
        server.cgroup.make_inner(group)
        running = start(server.command(cell_command(), group), log_file=server.config.folder / f"{group}.log")
        cell = cls(server, number, running)
        try:
            wait_until(cell._look, f"a cell of server {server.name}", Deadline(_READY_S), error=GuestError)
        except BaseException:
            cell.close()
            raise
        return cell

    def _look(self) -> tuple[bool | None, str]:
        if self._running is not None and self._running.exit_code is not None:
            raise GuestError("a cell ended while it started", details=self._log())
        self._init = _first_process(self._server, self._group)
        if self._init is None or not self._here("/run/ready").exists():
            return None, self._log()
        return True, "ready"

    def _log(self) -> str:
        return (self._server.config.folder / f"{self._group}.log").read_text(errors="replace")[-500:]

    @property
    def gone(self) -> bool:
        """Whether its first process has ended: the kernel lets that happen only when every other inside has."""
        return self._init is None or not self._init.alive

    @property
    def first_process(self) -> ProcessId:
        """Its first process; GuestError when it has ended, as its number may be another's by then."""
        if self._init is None or self.gone:
            raise GuestError(f"the cell of server {self._server.name} has ended")
        return self._init

    @property
    def _procs_files(self) -> Sequence[Path]:
        return self._server.cgroup.inner_procs_files(f"{self._group}/{_LEAF}")

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a program inside, counted with the server."""
        pid = str(self.first_process.pid)
        door = ["nsenter", "--target", pid, "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--"]
        try:
            done = run([*door, *command], check=False, timeout_s=timeout_s, cgroup_procs=self._procs_files)
        except ToolError as error:
            raise GuestError(f"{command[0]} did not end in the cell of server {self._server.name}", details=str(error)) from error
        if check and done.exit_code != 0:
            raise GuestError(
                f"{command[0]} failed in the cell of server {self._server.name} with exit code {done.exit_code}",
                details=(done.stderr or done.stdout)[-2000:],
            )
        return done.stdout

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        """Runs a line of shell inside."""
        return self.run(["/bin/sh", "-c", script], timeout_s=timeout_s, check=check)

    def write(self, path: str, text: str) -> None:
        """Writes a small file inside, over what is there."""
        file = self._here(path)
        try:
            replace_text(file, text, lasting=False)
        except OSError as error:
            raise GuestError(f"{path} cannot be written in the cell of server {self._server.name}", details=str(error)) from error

    def read(self, path: str) -> bytes:
        """A small file of the inside, without a process in it; GuestError when there is none."""
        try:
            return self._here(path).read_bytes()
        except OSError as error:
            raise GuestError(f"{path} cannot be read in the cell of server {self._server.name}", details=str(error)) from error

    def _here(self, path: str) -> Path:
        """The inside's file as it is seen from here (proc_pid_root(5))."""
        return Path(f"/proc/{self.first_process.pid}/root{path}")

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        """Starts a program in a control group of its own, so that all it starts can be ended with it."""
        group = f"{_JOBS}/{name}"
        self.shell(
            f"mkdir -p {group} && echo 0 >{group}/cgroup.procs || exit 1;"
            f" setsid {shlex.join(command)} </dev/null >/dev/null 2>{errors} & echo $! >{_pid_file(name)}"
        )

    def job_runs(self, name: str) -> bool:
        """Whether anything is in its group."""
        try:
            return b"populated 1" in self.read(f"{_JOBS}/{name}/cgroup.events")
        except GuestError:
            if self.gone:
                raise
            return False

    def end_job(self, name: str) -> None:
        """Tells it to end, and kills what is left."""
        self.run(
            ["/bin/sh", "-c", _END_JOB, "end-job", f"{_JOBS}/{name}", _pid_file(name), str(_END_OF_JOB_S * 10)],
            timeout_s=_END_OF_JOB_S + 20,
        )

    def close(self) -> None:
        """Ends all that is inside, and removes its groups."""
        if self._init is not None and not self._init.kill():
            raise GuestError(f"the cell of server {self._server.name} does not end")
        if self._running is not None:
            self._running.stop(ask=self._init is None)
        self._server.cgroup.remove_inner(self._group)


class LabCells:
    """Cells on the servers of a lab, for the container of its guest ``number``. Implements ``hosts.site.Cells``."""

    def __init__(self, servers: Mapping[HostName, Server], number: int = 1) -> None:
        self._servers = servers
        self._number = number

    def open(self, host: Host) -> LabCell:
        """Makes a new cell of the server."""
        return LabCell.open(self._servers[host.name], self._number)

    def find(self, host: Host) -> LabCell | None:
        """The cell of the server, where there is one."""
        return LabCell.find(self._servers[host.name], self._number)


def _pid_file(name: str) -> str:
    return f"/run/{name}.pid"


def _group_of(number: int) -> str:
    return "cell" if number == 1 else f"cell-{number}"


def _first_process(server: Server, group: str) -> ProcessId | None:
    """The init of the cell in this group; a container in it has an init of its own, one PID namespace further in."""
    return next((process for process in server.cgroup.inner_processes(group) if process.pids_inside[1:] == (1,)), None)
