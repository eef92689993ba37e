"""What this machine can do for a lab: each thing is tried, not looked up, and says why when it cannot be done."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whimbrel.errors import CapabilityError, WhimbrelError
from whimbrel.system import cgroups, kvm_memo, links, memory, netns
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.folders import home, make_private
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run
from whimbrel.units import format_bytes

# Another one may be examining at this moment, which takes it half a second.
TURN_S = 30.0
_NAMESPACE = "whimbrel-doctor"
_LAB_DISK_BYTES = 8 * 2**30
# What a lab takes whose images are there: saved states, and what guests write.
_LAB_WITH_IMAGES_DISK_BYTES = 2 * 2**30
_LAB_MEMORY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Finding:
    """One capability: ``works`` and what was seen; ``needed`` when a lab cannot be without it."""

    name: str
    works: bool
    needed: bool
    seen: str


def examine() -> list[Finding]:
    """Tries everything that a lab needs; what it makes meanwhile is removed."""
    findings = [
        attempt("root", True, _root),
        attempt("programs", True, _programs),
        attempt("processor", True, processor),
        attempt("libvirt-python", True, _libvirt_python),
        attempt("memory", True, _memory),
        attempt("disk space", True, room_for_images),
        attempt("network devices for guests", True, _tun),
    ]
    if findings[0].works and findings[1].works:
        with Ledger("doctor", TURN_S) as ledger:
            ledger.undo_all()
            try:
                findings += [
                    attempt("control groups", True, lambda: _groups(ledger)),
                    attempt("network namespaces and veth", True, lambda: _namespaces(ledger)),
                    attempt("link shaping (tbf)", True, _shaping),
                    attempt("overlay file system", True, lambda: _overlay(ledger)),
                    attempt("delay on links (netem)", False, _netem),
                    attempt("loss on links (nft)", False, _loss),
                ]
            finally:
                ledger.undo_all()
    findings.append(attempt("KVM", False, _kvm))
    return findings


def need_capabilities() -> None:
    """CapabilityError that names everything a lab needs and this machine lacks."""
    missing = [finding for finding in examine() if finding.needed and not finding.works]
    if missing:
        raise CapabilityError(
            f"this machine lacks {', '.join(finding.name for finding in missing)}",
            details="\n".join(f"{finding.name}: {finding.seen}" for finding in missing),
            resolution="'whimbrel doctor' tries them again",
        )


class _AbsentError(WhimbrelError):
    """A capability is not there; says why."""


def attempt(name: str, needed: bool, probe: Callable[[], str]) -> Finding:
    """What came of trying; an error is a finding too."""
    try:
        return Finding(name, True, needed, probe())
    except WhimbrelError as error:
        return Finding(name, False, needed, error.in_one_line)
    except OSError as error:
        return Finding(name, False, needed, str(error))


def _root() -> str:
    if os.geteuid() != 0:
        raise _AbsentError("not root: run with sudo")
    return "yes"


def processor() -> str:
    """This machine's kind; an error where labs cannot be made for it."""
    kind = platform.machine()
    if kind != "x86_64":
        raise _AbsentError(f"{kind}: a lab's images and machines are made for x86_64 (amd64) only")
    return kind


def _programs() -> str:
    wanted = ("mmdebstrap", "mke2fs", "gcc", "openssl", "ip", "tc", "unshare", "nsenter")
    absent = [name for name in wanted if shutil.which(name) is None]
    if absent:
        raise _AbsentError(f"not installed: {', '.join(absent)}; start whimbrel as ./whimbrel, which installs them")
    return ", ".join(wanted)


def _libvirt_python() -> str:
    try:
        import libvirt
    except ImportError as error:
        raise _AbsentError(f"cannot be imported ({error}); start whimbrel as ./whimbrel, which builds it") from error
    number = libvirt.getVersion()
    return f"built against libvirt {number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _memory() -> str:
    available = memory.available_bytes()
    if available < _LAB_MEMORY_BYTES:
        raise _AbsentError(f"{format_bytes(available)} free; a lab with guests of 1 GiB takes {format_bytes(_LAB_MEMORY_BYTES)}")
    return f"{format_bytes(available)} free"


def room_for_images() -> str:
    """What is free where labs and images lie; an error where that is too little for what is still to be made."""
    folder = home()
    kinds = {path.name.rpartition("-")[0] for path in (folder / "images").glob("*-*") if path.suffix != ".partial"}
    there = {"server", "guest", "disk", "film"} <= kinds
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    wanted = _LAB_WITH_IMAGES_DISK_BYTES if there else _LAB_DISK_BYTES
    if free < wanted:
        what = "a lab whose images are there" if there else "images and a lab"
        raise _AbsentError(f"{format_bytes(free)} free in {folder}; {what} may take {format_bytes(wanted)}")
    return f"{format_bytes(free)} free in {folder}"


def _tun() -> str:
    if not Path("/dev/net/tun").exists():
        raise _AbsentError("/dev/net/tun is missing: load the module tun, or hand the device to this container")
    return "/dev/net/tun"


def _groups(ledger: Ledger) -> str:
    ledger.add("cgroup", "doctor/trial")
    Cgroup("doctor/trial").create(cpus=cgroups.machine_cpus(), memory_bytes=2**30)
    return "version 2" if cgroups.hierarchies().unified else "version 1"


def _namespaces(ledger: Ledger) -> str:
    ledger.add("netns", _NAMESPACE)
    netns.create(_NAMESPACE)
    links.add_veth(_NAMESPACE, "one", _NAMESPACE, "two")
    return "made one"


def _shaping() -> str:
    links.shape(_NAMESPACE, "one", 1e6)
    return "a link was shaped"


def _netem() -> str:
    done = run(["tc", "-n", _NAMESPACE, "qdisc", "replace", "dev", "two", "root", "netem", "delay", "1ms"], check=False)
    if done.exit_code != 0:
        raise _AbsentError(f"the kernel has none: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'refused'}")
    return "yes"


def _loss() -> str:
    links.add_loss(_NAMESPACE, "two", 0.01)
    return "yes"


def _overlay(ledger: Ledger) -> str:
    folder = home() / "doctor"
    ledger.add("folder", str(folder))
    make_private(folder)
    for inner in ("lower", "upper", "work", "root"):
        (folder / inner).mkdir()
    # By relative names: in the options of a mount ',', ':' and '\\' mean something, and a path may have them.
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    mount = ["mount", "-t", "overlay", "-o", options, "overlay", "root"]
    run(["env", f"--chdir={folder}", "unshare", "--mount", "--pid", "--fork", *mount])
    return "mounted one"


def _kvm() -> str:
    if not Path("/dev/kvm").exists():
        raise _AbsentError("/dev/kvm is missing: guests are emulated, which is many times slower")
    works = kvm_memo.recall()
    if works is False:
        raise _AbsentError("/dev/kvm is there, but a guest that was booted in it never came up: guests are emulated")
    return "a guest booted in it" if works else "/dev/kvm is there; the first lab tries whether a guest really boots in it"
