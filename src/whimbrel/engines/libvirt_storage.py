"""Files on a host through its libvirtd: a folder as a storage pool, files sent into it and fetched from it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import EngineError


class Pool:
    """A folder on a host, as a transient storage pool; use as a context manager. Only files that we name are touched."""

    def __init__(self, raw: Any, folder: str) -> None:
        self._raw = raw
        self.folder = folder

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(what, self._raw.connect())

    def free_bytes(self) -> int:
        """What is free in its file system."""
        with self._explained(f"read the room in {self.folder}"):
            return int(self._raw.info()[3])

    def names(self) -> set[str]:
        """The files that are there."""
        with self._explained(f"list {self.folder}"):
            self._raw.refresh(0)
            return set(self._raw.listVolumes())

    def send(self, file: Path, name: str) -> None:
        """Writes a file there; one that is there already is replaced."""
        self.remove(name)
        self.put_new(file, name)

    def put_new(self, file: Path, name: str) -> None:
        """Writes a file there; EngineError when there is one of this name, on whatever host it was made."""
        volume = self._create(name, "raw", file.stat().st_size)
        with self._explained(f"send {file.name} to {self.folder}"):
            stream = self._raw.connect().newStream(0)
            # Holes stay holes: a disk's image is mostly made of them.
            volume.upload(stream, 0, 0, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
            with file.open("rb", buffering=0) as source:
                stream.sparseSendAll(_read, _in_data, _skip, source)
            stream.finish()

    def fetch(self, name: str, file: Path) -> None:
        """Reads a file from there."""
        with self._explained(f"fetch {name} from {self.folder}"):
            self._raw.refresh(0)
            volume = self._raw.storageVolLookupByName(name)
            stream = self._raw.connect().newStream(0)
            volume.download(stream, 0, 0, 0)
            with file.open("wb") as target:
                stream.recvAll(lambda _s, data, opaque: opaque.write(data), target)
            stream.finish()

    def lay_over(self, name: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """An empty qcow2 disk over another file."""
        self.remove(name)
        self._create(name, "qcow2", size_bytes, backing, backing_format)

    def remove(self, name: str) -> None:
        """Removes a file; nothing happens when there is none."""
        try:
            with self._explained(f"remove {name} from {self.folder}"):
                self._raw.refresh(0)
                self._raw.storageVolLookupByName(name).delete(0)
        except EngineError as error:
            if error.number != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise

    def make_empty(self, name: str) -> None:
        """Makes an empty file of this name."""
        self._create(name, "raw", 0)

    def _create(self, name: str, kind: str, size_bytes: int, backing: str | None = None, backing_format: str = "") -> Any:
        volume = ET.Element("volume")
        ET.SubElement(volume, "name").text = name
        ET.SubElement(volume, "capacity", unit="bytes").text = str(size_bytes)
        if kind == "qcow2":
            ET.SubElement(volume, "allocation").text = "0"
        target = ET.SubElement(volume, "target")
        ET.SubElement(target, "format", type=kind)
        if backing is not None:
            below = ET.SubElement(volume, "backingStore")
            ET.SubElement(below, "path").text = backing
            ET.SubElement(below, "format", type=backing_format)
        with self._explained(f"make {name} in {self.folder}"):
            return self._raw.createXML(ET.tostring(volume, encoding="unicode"), 0)


def _read(_stream: Any, size: int, source: FileIO) -> bytes:
    return source.read(size)


def _skip(_stream: Any, size: int, source: FileIO) -> int:
    return source.seek(size, os.SEEK_CUR)


def _in_data(_stream: Any, source: FileIO) -> tuple[bool, int]:
    """Whether the file has data where we stand, and how much of the same kind follows (lseek(2))."""
    here = source.tell()
    end = source.seek(0, os.SEEK_END)
    try:
        data = os.lseek(source.fileno(), here, os.SEEK_DATA)
    except OSError:  # nothing but a hole to the end
        data = end
    length = os.lseek(source.fileno(), here, os.SEEK_HOLE) - here if data == here and here < end else data - here
    source.seek(here)
    return data == here and here < end, length


@contextmanager
def pool(connection: Hypervisor, folder: str, owner: str) -> Iterator[Pool]:
    """The folder as a pool, for as long as it is used; a pool of somebody else's over the same folder is used as it is.

    One of ours that a crash left is used and then ended; ``owner`` is what the names of ours begin with.
    """
    raw = connection.raw
    name = f"{owner}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}"
    found = None
    with explained("list storage pools", raw):
        for candidate in raw.listAllStoragePools():
            path = ET.fromstring(candidate.XMLDesc(0)).findtext("./target/path")
            if path is not None and path.rstrip("/") == folder and candidate.isActive():
                found = candidate
    if found is not None and found.name() != name:
        yield Pool(found, folder)
        return
    made = found if found is not None else _make_pool(raw, name, folder)
    try:
        yield Pool(made, folder)
    finally:
        # A transient pool: what lies in the folder stays.
        with contextlib.suppress(libvirt.libvirtError):
            made.destroy()


@contextmanager
def folder_at(uri: str, folder: str, owner: str) -> Iterator[Pool]:
    """Opens a folder as ``pool`` does, by a connection of its own."""
    with hypervisor_at(uri) as connection, pool(connection, folder, owner) as found:
        yield found


def _make_pool(raw: Any, name: str, folder: str) -> Any:
    description = ET.Element("pool", type="dir")
    ET.SubElement(description, "name").text = name
    ET.SubElement(ET.SubElement(description, "target"), "path").text = folder
    with explained(f"use {folder} as a storage pool", raw):
        return raw.storagePoolCreateXML(ET.tostring(description, encoding="unicode"), 0)
