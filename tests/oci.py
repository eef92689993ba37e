"""OCI archives made for tests, as 'podman save --format oci-archive' writes them, or as 'docker save' once did."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def layer(*members: tarfile.TarInfo | tuple[str, bytes], packed: bool = False) -> bytes:
    """A layer of these members; a name and bytes are a file, a name that ends with / is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.mode, info.size = (0o755, 0) if info.isdir() else (0o644, len(content))
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(out.getvalue()) if packed else out.getvalue()


def link(name: str, to: str, hard: bool = False) -> tarfile.TarInfo:
    """A link of that name."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), to
    return info


def write_archive(file: Path, layers: Sequence[bytes], config: Mapping[str, Any], *, docker: bool = False) -> Path:
    """The archive in ``file``; ``config`` is what the image says of its process, such as ``Cmd``."""
    image = json.dumps({"architecture": "amd64", "os": "linux", "config": config}).encode()
    blobs = [*layers, image]
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    members = dict(zip(names, blobs, strict=True))
    if docker:
        members["manifest.json"] = json.dumps([{"Config": names[-1], "Layers": names[:-1]}]).encode()
    else:
        described = [{"digest": name.removeprefix("blobs/").replace("/", ":")} for name in names]
        manifest = json.dumps({"config": described[-1], "layers": described[:-1]}).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        members[f"blobs/sha256/{digest}"] = manifest
        members["index.json"] = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
        members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    file.write_bytes(layer(*members.items()))
    return file
