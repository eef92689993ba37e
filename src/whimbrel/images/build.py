"""How each kind of image is made. Builders run in a control group of their own, so that ``gc`` finds what a crash leaves."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from whimbrel.errors import CapabilityError, ToolError, UsageError
from whimbrel.images.recipes import (
    ArchiveRecipe,
    CloudDiskRecipe,
    DiskRecipe,
    FilmRecipe,
    LibraryRecipe,
    SeedRecipe,
    TreeRecipe,
)
from whimbrel.images.unpack import unpack
from whimbrel.services.archive import layers_of
from whimbrel.services.service import Archive, CloudDisk
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run, start

_BUILD_TIMEOUT_S = 1800.0
_MIB = 2**20


def tree(recipe: TreeRecipe, out: Path, ledger: Ledger) -> None:
    """A Debian tree in ``out/tree``, from mmdebstrap(1)'s default sources and, where its suite asks for them, their backports."""
    target = out / "tree"
    log_file = out / "build.log"
    group = Cgroup(f"images/{recipe.kind}")
    entry = ledger.add("cgroup", group.name)
    group.create(cpus=machine_cpus(), memory_bytes=None)
    # A PID and mount namespace of its own: when we die, everything that mmdebstrap started and mounted goes with it.
    running = start(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "mmdebstrap", f"--variant={recipe.variant}",
         f"--include={','.join(recipe.packages)}", *suite_options(recipe.suite), target],
        log_file=log_file,
        cgroup_procs=group.procs_files,
    )  # fmt: skip
    try:
        code = running.wait(_BUILD_TIMEOUT_S)
    finally:
        running.stop()
        ledger.undo(entry)
    if code != 0:
        words = log_file.read_text(errors="replace").strip().splitlines()[-12:]
        raise ToolError(
            f"mmdebstrap could not make the {recipe.kind} tree" + ("" if code is not None else " in time"),
            details="\n".join(words),
            resolution="check that Debian's packages can be reached (apt-get update), then try again",
        )
    for path, text in recipe.texts.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for name, source in recipe.programs.items():
        _compile(source, target / "usr" / "local" / "bin" / name, out)
    _set_units(target / "etc" / "systemd" / "system", recipe)
    shutil.rmtree(target / "var" / "cache" / "apt", ignore_errors=True)


def archive(recipe: ArchiveRecipe, image: Archive, out: Path) -> None:
    """The root file system of an OCI archive in ``out/tree``; UsageError where it is not one, or could not be moved as it is."""
    target = out / "tree"
    target.mkdir()
    with layers_of(image.file) as layers:
        unpack(layers, target, image.file)
    ours = target / Path(image.launcher).parent.relative_to("/")
    if ours.exists() or ours.is_symlink():
        raise UsageError(f"{image.file}: has a folder {ours.relative_to(target)} itself, which is for programs of ours")
    for name, source in recipe.programs.items():
        _compile(source, ours / name, out)


def cloud_disk(recipe: CloudDiskRecipe, image: CloudDisk, out: Path) -> None:
    """``disk.qcow2`` or ``disk.raw``: a copy of the user's own, which hosts find in the store."""
    run(["cp", "--reflink=auto", "--sparse=always", image.file, out / f"disk.{recipe.format}"])


def seed(recipe: SeedRecipe, tree: Path, out: Path) -> None:
    """``disk.raw``, a file system of ISO 9660 with the label that cloud-init looks for; CapabilityError where none is made."""
    if shutil.which("genisoimage") is None:
        raise CapabilityError(
            "a cloud image needs genisoimage here, which is not installed", resolution="'apt-get install genisoimage'"
        )
    content = out / "content"
    kit = content / "whimbrel"
    kit.mkdir(parents=True)
    for name, text in recipe.files.items():
        (content / name).write_text(text)
    agent = "/usr/sbin/qemu-ga"
    needed = re.findall(r"/\S+", run(["chroot", tree, "ldd", agent]).stdout)
    for file in (agent, *needed):
        shutil.copy((tree / file.lstrip("/")).resolve(), kit / Path(file).name)
    for name, source in recipe.programs.items():
        _compile(source, kit / name, out)
    run(["genisoimage", "-quiet", "-volid", "cidata", "-rock", "-joliet", "-output", out / "disk.raw", content])
    shutil.rmtree(content)


# Backports lie where the suite's updates do, and apt takes of them only what it is told to (apt_preferences(5)). Sources are
# in either format of sources.list(5).
_ADD_BACKPORTS = """\
find "$1/etc/apt" -name sources.list -o -name '*.sources' | xargs sed -i \
    -e '/^Suites:.* {suite}-updates/s/$/ {suite}-backports/' \
    -e '/^deb .* {suite}-updates /{{p;s/ {suite}-updates / {suite}-backports /}}'
grep -rq ' {suite}-backports' "$1/etc/apt" || {{ echo "E: no {suite}-updates, beside which its backports lie" >&2; exit 1; }}
printf 'Package: *\\nPin: release n={suite}-backports\\nPin-Priority: 500\\n' >"$1/etc/apt/preferences.d/backports"
"""


def suite_options(suite: str) -> list[str]:
    """The suite as mmdebstrap(1) is told it."""
    plain = suite.removesuffix("-backports")
    return [plain] if suite == plain else [f"--setup-hook={_ADD_BACKPORTS.format(suite=plain)}", plain]


def library(recipe: LibraryRecipe, out: Path) -> None:
    """``NAME.so`` in ``out``. It needs the C library alone, and of that nothing newer than this machine has."""
    _compile(recipe.source, out / f"{recipe.name}.so", out, ("-shared", "-fPIC"))


# A static program runs whatever the tree's own libraries are.
_STATIC = ("-static", "-pthread")


def _compile(source: str, target: Path, out: Path, how: Sequence[str] = _STATIC) -> None:
    file = out / f"{target.stem}.c"
    file.write_text(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["gcc", "-O2", *how, "-Wall", "-Wextra", "-Werror", "-s", "-o", target, file])
    file.unlink()


def _set_units(system: Path, recipe: TreeRecipe) -> None:
    # Not by glob(): outside the tree these links point nowhere, and glob passes over such links.
    for wants in system.glob("*.wants"):
        for unit in recipe.disabled_units:
            (wants / unit).unlink(missing_ok=True)
    for unit in recipe.masked_units:
        link = system / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for unit in recipe.enabled_units:
        wants = system / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")


def disk(recipe: DiskRecipe, tree: Path, out: Path) -> None:
    """``disk.raw``, ``vmlinuz`` and ``initrd.img`` from a tree."""
    boot = tree / "boot"
    shutil.copy(next(boot.glob("vmlinuz-*")), out / "vmlinuz")
    shutil.copy(next(boot.glob("initrd.img-*")), out / "initrd.img")
    _file_system(out / "disk.raw", tree, recipe.size_bytes)


def film(recipe: FilmRecipe, out: Path) -> None:
    """``film.flv``, the same film as ``hls/`` (playlist and segments), and ``disk.raw`` with a file system that holds both."""
    # PyAV is large, and most commands make no film.
    from whimbrel.images.film import cut_film, make_film

    make_film(recipe, out / "film.flv")
    (out / "hls").mkdir()
    cut_film(recipe, out / "film.flv", out / "hls")
    _file_system_of([out / "film.flv", out / "hls"], out)


def payload(tree: Path, out: Path) -> None:
    """``disk.raw`` with a file system that holds the tree as rootfs.tar."""
    tar = out / "rootfs.tar"
    run(["tar", "--numeric-owner", "--sort=name", "-C", tree, "-cf", tar, "."])
    _file_system_of([tar], out)
    tar.unlink()


def _file_system_of(things: Sequence[Path], out: Path) -> None:
    content = out / "content"
    content.mkdir()
    for thing in things:
        if thing.is_dir():
            shutil.copytree(thing, content / thing.name, copy_function=os.link)
        else:
            os.link(thing, content / thing.name)
    size_bytes = sum(file.stat().st_size for file in content.rglob("*") if file.is_file())
    _file_system(out / "disk.raw", content, size_bytes * 11 // 10 + 8 * _MIB)
    shutil.rmtree(content)


def _file_system(target: Path, content: Path, size_bytes: int) -> None:
    """An ext4 file system, made without mounting anything (mke2fs(8) -d)."""
    size_kib = -(-size_bytes // 1024)
    run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0", "-d", content, target, f"{size_kib}k"])


def describe(out: Path) -> dict[str, object]:
    """What a manifest says of an image beyond its recipe: its files' sizes, and the package versions of a Debian tree."""
    return {"files": {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}, **_packages(out)}


def _packages(out: Path) -> dict[str, object]:
    status = out / "tree" / "var" / "lib" / "dpkg" / "status"
    if not status.exists():
        return {}
    packages: dict[str, str] = {}
    name = ""
    for line in status.read_text().splitlines():
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line.startswith("Version: "):
            packages[name] = line.removeprefix("Version: ")
    return {"packages": packages}
