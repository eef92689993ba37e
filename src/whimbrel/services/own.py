"""A service of the user's own: from an OCI archive, a cloud image, or Debian packages with a line that starts it."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.services.archive import Process, process_of
from whimbrel.services.client import CLIENTS, Client
from whimbrel.services.service import Archive, CloudDisk, Image, Installed
from whimbrel.spec.checks import CheckedServiceSpec, ImageSpec, WrittenCheck
from whimbrel.spec.service import ServiceName

# Where the root file system lies in a VM whose own the service is (guests/container_unpack.sh).
ROOT = "/srv/origin/lower"
_LAUNCHER = "/usr/local/bin/begin"
_ASKED_AT = re.compile(r"(?:hls:)?([a-z]+)://\{address\}(?::([0-9]+))?", re.IGNORECASE)
_USUAL_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443, "rtmp": 1935, "rtmps": 443}
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class OwnService:
    """What a scenario file says of it. Implements ``Service``."""

    image: Image | CloudDisk
    start: str
    command: str
    ports: tuple[int, ...]
    http_port: int | None
    name: ServiceName = "own"
    before_as_root: str = ""
    clients: tuple[Client, ...] = (CLIENTS["checks"],)

    @property
    def versions(self) -> Mapping[str, str]:
        """Nobody but the user knows how it says them."""
        return {}


def own_service(spec: CheckedServiceSpec, image: ImageSpec) -> OwnService:
    """The service of a file; UsageError when its archive is not one, or says nothing that could be run."""
    ports = spec.ports if spec.ports is not None else tuple(dict.fromkeys(port for _, port in _asked_at(spec)))
    http_port = next((port for scheme, port in _asked_at(spec) if scheme == "http"), None)
    made_of = _made_of(image)
    if isinstance(made_of, CloudDisk):
        return OwnService(made_of, spec.start or "", "", ports, http_port)
    process = process_of(made_of.file, made_of.digest) if isinstance(made_of, Archive) else Process()
    words = _words(made_of, process, spec.start)
    properties = (f"RootDirectory={ROOT}", "MountAPIVFS=yes", f"KillSignal={process.stop_signal}")
    # Variables are the service's own business.
    in_vm = ["systemd-run", "--quiet", "--unit=own", "--expand-environment=no", *(f"--property={each}" for each in properties)]
    return OwnService(made_of, shlex.join([*in_vm, "--", *words]), shlex.join(words), ports, http_port)


def launched(command: str, beside: str) -> list[str]:
    """The words of a ``command`` that begins with the launcher, which is to start another program of ours beside it.

    That one, and its arguments, is named as it lies beside the launcher.
    """
    launcher, *rest = shlex.split(command)
    return [launcher, "-b", f"{Path(launcher).parent}/{beside}", *rest]


def _made_of(image: ImageSpec) -> Image | CloudDisk:
    if image.packages:
        return Installed(image.packages, {}, launcher=_LAUNCHER)
    file = Path(image.oci or image.disk or "")
    if image.oci is not None:
        return Archive(file, _digest_of(file))
    return CloudDisk(file, _digest_of(file), _text_of(image.user_data))


def _words(image: Image, process: Process, start: str | None) -> list[str]:
    """What is run, as the launcher is told it."""
    arguments = ["/bin/sh", "-c", start] if start is not None else process.arguments
    if not arguments:
        raise UsageError(
            f"{getattr(image, 'file', image)}: the image says nothing that is to be run", resolution="say it: 'service.start'"
        )
    options = [word for pair in process.environment for word in ("-e", pair)]
    return [image.launcher, "-d", process.folder, "-u", process.user, *options, "--", *arguments]


def _asked_at(spec: CheckedServiceSpec) -> Iterator[tuple[str, int]]:
    """Of each check that asks over TCP at the service's address: its scheme and port."""
    for check in spec.checks:
        match = _ASKED_AT.match(check.url if isinstance(check, WrittenCheck) else check)
        port = (match[2] or _USUAL_PORT.get(match[1].lower())) if match else None
        if match and port is not None:
            yield match[1].lower(), int(port)


def _digest_of(file: Path) -> str:
    try:
        seen = file.stat()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", resolution="'service.image' names it") from error
    return _digest(file, seen.st_mtime_ns, seen.st_size)


@lru_cache
def _digest(file: Path, mtime_ns: int, size: int) -> str:
    """Of a file as it is now, as its stamps tell."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def _text_of(name: str | None) -> str:
    if name is None:
        return "#cloud-config\n{}\n"
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: cannot be read: {error}", resolution="'service.image.user_data' names it") from error
