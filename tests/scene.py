"""Two servers of a lab on which moves of guests that hold nothing are made to fail, and all that undoes the harm."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tests.labs import lab_that_is_up
from whimbrel.engines.hypervisor import MoveOptions
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, NoGuestError
from whimbrel.lab.lab import Lab
from whimbrel.lab.server import Server
from whimbrel.spec.lab import LabSpec
from whimbrel.system import netns
from whimbrel.system.certificates import Authority
from whimbrel.system.deadline import Deadline
from whimbrel.system.process import run, start

NAME = "mover"
UUID = "0b5e7f4c-0000-4000-8000-0000000000aa"
_VM = """\
<domain type="{kind}"><name>{name}</name><uuid>{uuid}</uuid><memory unit="MiB">{memory_mib}</memory>
<os><type machine="{machine}">hvm</type></os>{more}
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"""


_LISTEN = """\
import socket, sys, time
held = [socket.create_server(("", port)) for port in range(int(sys.argv[1]), int(sys.argv[2]) + 1)]
print("ready", flush=True)
time.sleep(600)
"""


def vm(name: str = NAME, uuid: str = UUID, *, kind: str = "qemu", memory_mib: int = 64, machine: str = "pc", more: str = "",
       devices: str = "") -> str:  # fmt: skip
    """A VM without anything in it: its firmware runs on."""
    return _VM.format(kind=kind, name=name, uuid=uuid, memory_mib=memory_mib, machine=machine, more=more, devices=devices)


def disk(path: str) -> str:
    return f'<disk type="file"><driver name="qemu" type="raw" cache="none"/><source file="{path}"/><target dev="vda"/></disk>'


class Scene:
    """Two servers that run nothing, and what undoes each harm."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.a, self.b = lab.hosts["a"], lab.hosts["b"]
        self.nobody = lab.spec.address(77)
        self._undo = ExitStack()
        self._connections = {server.name: Connection.open(server.libvirt_uri) for server in (self.a, self.b)}

    def at(self, server: Server) -> Connection:
        return self._connections[server.name]

    def clear(self) -> None:
        for server in (self.a, self.b):
            with suppress(EngineError):
                for domain in self.at(server).running():
                    domain.destroy()
        self._undo.close()
        self._undo = ExitStack()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def afterwards(self, undo: Callable[[], object]) -> None:
        self._undo.callback(undo)

    def options(self, **other: object) -> MoveOptions:
        usual = MoveOptions(peer_uri=self.b.peering.peer_uri, move_uri=self.b.peering.move_uri, bandwidth_mib_per_s=1000)
        return replace(usual, **other)  # type: ignore[arg-type]

    def move(self, description: str | None = None, **options: object) -> None:
        """Starts a VM on server a and moves it to server b."""
        self.at(self.a).create(description or vm()).migrate(self.options(**options))

    def harm(self, server: Server, script: str, undo: str = "") -> None:
        """A harm to a server, and its undoing; in its network, with this machine's programs."""
        words = [*netns.inside(server.config.netns), "sh", "-euc"]
        run([*words, script])
        if undo:
            self.afterwards(lambda: run([*words, undo]))

    def replace_file(self, server: Server, path: str, content: Path) -> None:
        file = server.seen_from_here(path)
        before = file.read_bytes()
        self.afterwards(lambda: file.write_bytes(before))
        file.write_bytes(content.read_bytes())

    def take_away(self, server: Server, path: str) -> None:
        file = server.seen_from_here(path)
        file.rename(f"{file}.away")
        self.afterwards(lambda: Path(f"{file}.away").rename(file))

    def image(self, server: Server, path: str, size: str = "8M") -> None:
        server.run(["qemu-img", "create", "-q", "-f", "raw", path, size])
        self.afterwards(lambda: server.run(["rm", "-f", path]))

    def stranger(self) -> Authority:
        """An authority that nobody trusts."""
        found = Authority(self.folder / "stranger")
        if not found.certificate.exists():
            found.create()
        return found

    def expired(self, server: Server) -> Path:
        """A certificate of the lab's own authority, for the key that the server has, that was good for a day in 2020."""
        folder, name = self.folder, f"server-{server.name}"
        ca = self.lab.authority.certificate
        key = folder / f"{name}.key"
        key.write_bytes(server.seen_from_here("/etc/pki/libvirt/private/serverkey.pem").read_bytes())
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=this\n[this]\nnew_certs_dir={folder}\ndatabase={folder}/index.txt\nserial={folder}/serial\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n[req]\ndistinguished_name=name\n[name]\n"
            f"[host]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
            f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:{name},IP:{server.address}\n"
        )
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("77\n")
        run(["openssl", "req", "-new", "-config", folder / "ca.cnf", "-key", key, "-subj", f"/CN={name}", "-out", folder / "csr"])
        run(["openssl", "ca", "-batch", "-config", folder / "ca.cnf", "-cert", ca, "-keyfile", ca.parent / "cakey.pem", "-in",
             folder / "csr", "-out", folder / f"{name}.pem", "-notext", "-extensions", "host", "-startdate", "20200101000000Z",
             "-enddate", "20200102000000Z"])  # fmt: skip
        return folder / f"{name}.pem"

    def open_again(self) -> None:
        """Waits for each libvirtd that takes the place of one that was killed, and ends what that has left."""
        for server in (self.a, self.b):
            self.at(server).close()
            self._connections[server.name] = self._opened(server)
            for domain in self.at(server).running():
                with suppress(NoGuestError):
                    domain.destroy()

    @staticmethod
    def _opened(server: Server) -> Connection:
        deadline = Deadline(60)
        while True:
            try:
                return Connection.open(server.libvirt_uri)
            except EngineError:
                if deadline.passed:
                    raise
                time.sleep(0.2)

    @contextmanager
    def listening(self, server: Server, first: int, last: int) -> Iterator[None]:
        """Somebody else has these ports."""
        words = [*netns.inside(server.config.netns), sys.executable, "-c", _LISTEN, str(first), str(last)]
        holder = start(words, stdout=True)
        try:
            assert holder.stdout.readline() == b"ready\n"
            yield
        finally:
            holder.stop()


@contextmanager
def scene_in_a_lab(folder: Path) -> Iterator[Scene]:
    spec = LabSpec.model_validate({"name": "failures", "network": "10.79.0.0/24", "link_rate": "1 Gbit/s", "tls": True})
    with lab_that_is_up(spec) as lab:
        scene = Scene(lab, folder)
        try:
            yield scene
        finally:
            scene.clear()
            scene.close()
