"""A cloud image as distributions publish them, made of Debian packages: a disk that boots by itself, with cloud-init."""

from __future__ import annotations

from pathlib import Path

from whimbrel.images import build
from whimbrel.images.recipes import TreeRecipe
from whimbrel.images.store import ImageStore
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run

_SECTOR_BYTES = 512
_FIRST_SECTOR = 2048
_SIZE_BYTES = 1500 << 20
_TREE = TreeRecipe(
    kind="cloudlike",
    variant="minbase",
    packages=(
        "linux-image-cloud-amd64", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "cloud-init", "netplan.io", "grub-pc-bin",
        "nginx-light",
    ),
    texts={
        "etc/fstab": "/dev/vda1 / ext4 defaults 0 0\n",
        "boot/grub.cfg": "set root=(hd0,msdos1)\nlinux /vmlinuz root=/dev/vda1 ro console=ttyS0\ninitrd /initrd.img\nboot\n",
    },
    # It is not to be there unless cloud-init says so.
    disabled_units=("nginx.service",),
)  # fmt: skip


def cloud_image(store: ImageStore) -> Path:
    """The disk (raw), made once on this machine."""
    return store.ensure(_TREE, "a cloud image for tests (Debian packages, about a minute)", _make) / "cloud.raw"


def _make(out: Path, ledger: Ledger) -> None:
    build.tree(_TREE, out, ledger)
    tree, disk = out / "tree", out / "cloud.raw"
    modules = ["biosdisk", "part_msdos", "ext2", "linux", "normal"]
    run(["chroot", tree, "grub-mkimage", "-O", "i386-pc", "-c", "/boot/grub.cfg", "-p", "(hd0,msdos1)/boot/grub",
         "-o", "/boot/core.img", *modules])  # fmt: skip
    run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, out / "root.raw", f"{_SIZE_BYTES >> 10}k"])
    # As grub-install does it: its first sector with the table of partitions, the rest before the first one.
    first = bytearray((tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()[:_SECTOR_BYTES])
    sectors = _SIZE_BYTES // _SECTOR_BYTES
    entry = bytes([0x80, 0xFE, 0xFF, 0xFF, 0x83, 0xFE, 0xFF, 0xFF])
    # Where the table goes there is code for floppy disks.
    first[446:510] = (entry + _FIRST_SECTOR.to_bytes(4, "little") + sectors.to_bytes(4, "little")).ljust(64, b"\0")
    first[510:512] = b"\x55\xaa"
    core = (tree / "boot/core.img").read_bytes()
    assert len(core) < (_FIRST_SECTOR - 1) * _SECTOR_BYTES
    disk.write_bytes(bytes(first) + core)
    run(["dd", f"if={out / 'root.raw'}", f"of={disk}", "bs=1M", "seek=1", "conv=sparse,notrunc", "status=none"])
    with disk.open("r+b") as file:
        file.truncate((_FIRST_SECTOR * _SECTOR_BYTES) + _SIZE_BYTES)
    (out / "root.raw").unlink()
