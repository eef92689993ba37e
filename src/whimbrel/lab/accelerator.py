"""Whether guests run in KVM or are emulated. A working /dev/kvm proves nothing: only a guest that boots does."""

from __future__ import annotations

from pathlib import Path

from whimbrel.hosts.site import Accelerator
from whimbrel.lab.server import Server
from whimbrel.system import kvm_memo

DEVICE = Path("/dev/kvm")
_BOOT_S = 20
# The kernel says this when it hands over to the first program: memory, interrupts and timers work.
_PROOF = "Run /init as init process"


def choose_accelerator(server: Server, kernel_folder: Path) -> Accelerator:
    """``kvm`` when a guest reaches its first program in it within seconds, else ``tcg``; asked once per boot of the machine."""
    if not DEVICE.exists():
        # Not remembered: it may come, by a module that is loaded or a device that is handed in.
        return "tcg"
    key = f"{kernel_folder.name} {server.config.tree.parent.name}"
    works = kvm_memo.recall(key)
    if works is None:
        works = _boots(server, kernel_folder.name)
        kvm_memo.remember(key, works)
    return "kvm" if works else "tcg"


def _boots(server: Server, image: str) -> bool:
    """Boots the guest kernel in KVM with a serial console and looks for the proof."""
    folder = f"/srv/images/{image}"
    done = server.run(
        ["timeout", "--signal=KILL", str(_BOOT_S), "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512",
         "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", f"{folder}/vmlinuz",
         "-initrd", f"{folder}/initrd.img", "-append", "console=ttyS0 panic=-1 rdinit=/init"],
        check=False,
        timeout_s=_BOOT_S + 10,
    )  # fmt: skip
    return _PROOF in done.stdout
