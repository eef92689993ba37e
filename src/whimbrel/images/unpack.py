"""Lays the layers of an OCI image over one another (opencontainers/image-spec, layer.md), as root, never outside their folder.

An archive is somebody else's: a link in one layer must not lead a file of the next one out of the folder.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from whimbrel.errors import UsageError

_GONE, _ALL_GONE = ".wh.", ".wh..wh..opq"
_MOST_LINKS = 40
_FILE_CAPABILITIES = "SCHILY.xattr.security.capability"
_ZSTD = b"\x28\xb5\x2f\xfd"
# What a service may take for granted, and a container made of the tree alone would not have.
_FOLDERS = {"proc": 0o555, "sys": 0o555, "dev": 0o755, "dev/shm": 0o1777, "run": 0o755, "srv": 0o755, "tmp": 0o1777}


def unpack(layers: Iterable[IO[bytes]], target: Path, said: Path) -> None:
    """All layers into the empty folder ``target``, the lowest first; UsageError names the archive, ``said``."""
    for layer in layers:
        beginning = layer.read(4)
        layer.seek(0)
        if beginning == _ZSTD:
            raise UsageError(f"{said}: a layer is packed with zstd, which cannot be read here", resolution="save it with gzip")
        # Of the layer itself: what it hides is of those below it.
        added: set[Path] = set()
        with tarfile.open(fileobj=layer) as members:
            for member in members:
                try:
                    _add(members, member, target, added)
                except OSError as error:
                    raise UsageError(f"{said}: {member.name} cannot be unpacked: {error}") from error
    for name, mode in _FOLDERS.items():
        folder = _inside(target, name)
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(mode)


def _add(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, added: set[Path]) -> None:
    folder, name = _inside(target, str(PurePosixPath(member.name).parent)), PurePosixPath(member.name).name
    if name in ("", ".."):
        # The root itself.
        return
    if name == _ALL_GONE:
        _clear(folder, added)
        return
    if name.startswith(_GONE):
        _remove(folder / name.removeprefix(_GONE))
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    added |= {path, *(parent for parent in path.parents if parent != target and target in parent.parents)}
    if not (member.isdir() and path.is_dir() and not path.is_symlink()):
        _remove(path)
        _make(members, member, path, target)
    if not member.islnk():
        _give(member, path)


def _clear(folder: Path, added: set[Path]) -> None:
    """Removes what a lower layer has left in a folder."""
    for each in folder.iterdir() if folder.is_dir() else ():
        if each not in added:
            _remove(each)
        elif not each.is_symlink():
            _clear(each, added)


def _inside(target: Path, name: str) -> Path:
    """Where a path leads within the folder, as if that were the root of all: links are followed, never out of it."""
    here, links = target, 0
    parts = [part for part in reversed(name.split("/")) if part not in ("", ".")]
    while parts:
        part = parts.pop()
        if part == "..":
            here = here if here == target else here.parent
            continue
        here /= part
        if here.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(f"too many links at {name}")
            leads_to = str(here.readlink())
            here = target if leads_to.startswith("/") else here.parent
            parts += [each for each in reversed(leads_to.split("/")) if each not in ("", ".")]
    return here


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path, target: Path) -> None:
    if member.isdir():
        path.mkdir()
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        at = _inside(target, str(PurePosixPath(member.linkname).parent)) / PurePosixPath(member.linkname).name
        os.link(at, path, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(path)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    else:
        data = members.extractfile(member)
        assert data is not None
        with path.open("xb") as file:
            shutil.copyfileobj(data, file)


def _give(member: tarfile.TarInfo, path: Path) -> None:
    """Owner, mode, time and capabilities, the owner first: changing that takes the others away."""
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if path.is_symlink():
        return
    path.chmod(member.mode & 0o7777)
    capabilities = member.pax_headers.get(_FILE_CAPABILITIES)
    if capabilities is not None:
        os.setxattr(path, "security.capability", capabilities.encode("utf-8", "surrogateescape"))
    os.utime(path, (member.mtime, member.mtime))
