"""What goes into each image, as data. An image is named by the hash of its recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import overload

from whimbrel.errors import UsageError
from whimbrel.services.registry import images_of_services
from whimbrel.services.service import Archive, CloudDisk, Image, Installed

SUITE = "trixie"
_QCOW2 = b"QFI\xfb"


@dataclass(frozen=True)
class TreeRecipe:
    """A Debian tree: packages, then files, C programs of ours, and systemd units that are switched off, masked or on.

    A suite of backports stands for the newest of it and of the suite it belongs to.
    """

    kind: str
    variant: str
    packages: tuple[str, ...]
    texts: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    disabled_units: tuple[str, ...] = ()
    masked_units: tuple[str, ...] = ()
    enabled_units: tuple[str, ...] = ()
    suite: str = SUITE


@dataclass(frozen=True)
class ArchiveRecipe:
    """The root file system of an OCI archive with this SHA-256, and C programs of ours in a folder of their own in it."""

    digest: str
    programs: dict[str, str]
    kind: str = "container"


@dataclass(frozen=True)
class CloudDiskRecipe:
    """A disk with this SHA-256 that somebody else has made, of a format that QEMU knows it by."""

    digest: str
    format: str
    kind: str = "cloud"


@dataclass(frozen=True)
class SeedRecipe:
    """What cloud-init in a VM finds on a disk beside its own (its data source NoCloud): files by name, and a guest agent.

    That is the one of a guest ``tree``, with the libraries that it needs, so that it runs in whatever system there is; beside it
    lie programs of ours.
    """

    tree: str
    files: dict[str, str]
    programs: dict[str, str]
    kind: str = "seed"


@dataclass(frozen=True)
class DiskRecipe:
    """An ext4 disk made from a tree, with the tree's kernel and initrd beside it."""

    tree: str
    size_bytes: int
    kind: str = "disk"


@dataclass(frozen=True)
class FilmRecipe:
    """A film of a constant bitrate, on a small read-only disk of its own."""

    bitrate_bytes_per_s: float
    length_s: float
    width: int = 640
    height: int = 360
    frames_per_s: int = 25
    tone_hz: int = 440
    sample_rate_hz: int = 44_100
    audio_bitrate_bytes_per_s: int = 8_000
    kind: str = "film"
    hls_segment_s: int = 2
    # Raised when the same numbers make another film.
    maker_version: int = 2


@dataclass(frozen=True)
class PayloadRecipe:
    """A container's root file system as a tar on a small read-only disk."""

    tree: str
    kind: str = "payload"


@dataclass(frozen=True)
class LibraryRecipe:
    """A library of ours in C, for LD_PRELOAD into programs of a server's tree, or of a guest's no older than this machine."""

    name: str
    source: str
    kind: str = "library"


Recipe = TreeRecipe | ArchiveRecipe | CloudDiskRecipe | SeedRecipe | DiskRecipe | FilmRecipe | PayloadRecipe | LibraryRecipe


def recipe_id(recipe: Recipe) -> str:
    """``kind-hash``: equal for equal recipes, on every machine."""
    return f"{recipe.kind}-{content_hash(asdict(recipe))}"


def content_hash(content: object) -> str:
    """The first 12 hex digits of the SHA-256 of the content's canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _text(name: str) -> str:
    return (files("whimbrel.images") / "files" / name).read_text()


def _texts(image: Installed) -> dict[str, str]:
    return {path: _text(name) for path, name in image.files.items()}


def _programs(*names: str) -> dict[str, str]:
    """Sources of our own programs by name; they are built without libraries, so that any tree can hold them."""
    return {name: _source(name) for name in names}


def _source(name: str) -> str:
    return (files("whimbrel.images") / "programs" / f"{name}.c").read_text()


def criu_aid() -> LibraryRecipe:
    """What CRIU needs in a server, without a guest's kernel around it, and what spares it a wait anywhere."""
    return LibraryRecipe("criu-aid", _source("criu-aid"))


def server_tree(suite: str = SUITE) -> TreeRecipe:
    """A lab server: QEMU, libvirt, what restores containers, and an init to run them under."""
    packages = ("qemu-system-x86", "qemu-utils", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-driver-storage",
                "libvirt-daemon-log", "libvirt-daemon-lock", "libvirt-clients", "iproute2", "tini",
                "criu", "libcriu2", "crun", "runc", "nftables", "netcat-openbsd")  # fmt: skip
    return TreeRecipe(kind="server", variant="minbase", packages=packages, suite=suite)


# Work that would start by itself in the middle of a trial, or that only makes the boot longer.
_NOT_IN_A_GUEST = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "logrotate.timer", "man-db.timer", "systemd-tmpfiles-clean.timer", "systemd-timesyncd.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
    "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-pstore.service", "systemd-random-seed.service",
)  # fmt: skip


def guest_tree() -> TreeRecipe:
    """The guest of every form: all services, and a Docker engine; they stay off until asked for."""
    services = images_of_services()
    return TreeRecipe(
        kind="guest",
        variant="minbase",
        packages=(
            "linux-image-cloud-amd64", "systemd-sysv", "dbus", "iproute2", "udev", "kmod", "qemu-guest-agent",
            *(package for service in services for package in service.packages), "docker.io", "docker-cli", "iptables", "nftables",
            "podman", "criu", "libcriu2", "crun", "runc", "netavark", "aardvark-dns", "netcat-openbsd",
        ),
        programs=_programs("reach", "witness", "dirtier"),
        texts={
            "etc/hostname": "guest\n",
            "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 0\n"
            "/dev/vdb /srv/film ext4 ro,nofail,x-systemd.device-timeout=90s 0 0\n",
            **{path: text for service in services for path, text in _texts(service).items()},
            "etc/nginx/neighbour.conf": _text("neighbour.conf"),
            "etc/systemd/system/guest-network.service": _text("guest-network.service"),
            "etc/systemd/system/neighbour.service": _text("neighbour.service"),
            "usr/local/lib/guest-network.sh": _text("guest-network.sh"),
            "etc/docker/daemon.json": '{"live-restore": false, "log-driver": "none"}\n',
            "etc/systemd/journald.conf.d/small.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=4M\n",
            "srv/film/.keep": "",
        },
        disabled_units=(
            "docker.service", "docker.socket", "containerd.service",
            *(unit for service in services for unit in service.units), "nftables.service",
        ),
        masked_units=_NOT_IN_A_GUEST,
        enabled_units=("guest-network.service",),
    )  # fmt: skip


@overload
def container_tree(image: Installed) -> TreeRecipe: ...
@overload
def container_tree(image: Image) -> TreeRecipe | ArchiveRecipe: ...
def container_tree(image: Image) -> TreeRecipe | ArchiveRecipe:
    """A container with a service alone; of one of ours the same programs and the same files as in the VM."""
    if isinstance(image, Archive):
        return ArchiveRecipe(image.digest, _programs("begin", "witness"))
    return TreeRecipe(
        kind="container",
        variant="essential",
        packages=image.packages,
        texts={**_texts(image), "srv/film/.keep": ""},
        programs=_programs("witness", "dirtier", *(["begin"] if image.launcher else [])),
    )


def cloud_disk(image: CloudDisk) -> CloudDiskRecipe:
    """The user's own disk; UsageError when it lies over another, which hosts would not see."""
    with image.file.open("rb") as file:
        head = file.read(16)
    if not head.startswith(_QCOW2):
        return CloudDiskRecipe(image.digest, "raw")
    # docs/interop/qcow2.txt: where the name of the image that it lies over stands, 0 for none, at byte 8.
    if any(head[8:16]):
        raise UsageError(f"{image.file}: lies over another image", resolution="'qemu-img convert' makes one of both")
    return CloudDiskRecipe(image.digest, "qcow2")


def seed(image: CloudDisk, mac: str, address: str) -> SeedRecipe:
    """What its cloud-init is told: a name, its address (with a prefix length), what the user says, and to run our guest agent."""
    network = {"version": 2, "ethernets": {"eth0": {"match": {"macaddress": mac}, "set-name": "eth0", "addresses": [address]}}}
    return SeedRecipe(
        tree=recipe_id(guest_tree()),
        files={
            "meta-data": json.dumps({"instance-id": "whimbrel", "local-hostname": "guest"}),
            "network-config": json.dumps(network),
            "user-data": image.user_data,
            "vendor-data": _text("cloud-agent.sh"),
        },
        programs=_programs("witness", "dirtier"),
    )
