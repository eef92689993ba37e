"""An OCI image in a file: which layers it has, and what it runs.

Read are OCI layouts (opencontainers/image-spec, image-layout.md), as 'podman save --format oci-archive' and newer Dockers write
them, and what 'docker save' wrote before.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from whimbrel.errors import UsageError

_MOST_JSON_BYTES = 4 << 20
_USUAL_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Process:
    """What an image runs: its arguments, its variables as NAME=VALUE, in which folder, as which user, and what ends it.

    User and signal are as the image names them.
    """

    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = (_USUAL_PATH,)
    folder: str = "/"
    user: str = "0"
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True)
class _Image:
    layers: tuple[str, ...]
    config: Mapping[str, Any]


@lru_cache
def process_of(file: Path, digest: str) -> Process:
    """What the image in a file with this digest runs; UsageError when it is no image."""
    with _opened(file) as archive:
        config = _image_in(archive, file).config.get("config") or {}
    environment = tuple(map(str, config.get("Env") or ()))
    return Process(
        arguments=tuple(map(str, [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())])),
        environment=environment if any(pair.startswith("PATH=") for pair in environment) else (_USUAL_PATH, *environment),
        folder=str(config.get("WorkingDir") or "/"),
        user=str(config.get("User") or "0"),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
    )


@contextmanager
def layers_of(file: Path) -> Iterator[Iterator[IO[bytes]]]:
    """The layers of the image in a file, the lowest first, each a tar, compressed or not; UsageError when it is no image."""
    with _opened(file) as archive:
        yield (_member(archive, name, file) for name in _image_in(archive, file).layers)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file) as archive:
            yield archive
    except (tarfile.TarError, EOFError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        raise _no_image(file, str(error)) from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error


def _image_in(archive: tarfile.TarFile, file: Path) -> _Image:
    names = {name.removeprefix("./") for name in archive.getnames()}
    if "index.json" in names:
        manifest = _manifest(archive, _json(archive, "index.json", file), file)
        config = _json(archive, _blob(manifest["config"]), file)
        return _Image(tuple(_blob(layer) for layer in manifest["layers"]), config)
    if "manifest.json" in names:
        [described] = _json(archive, "manifest.json", file)
        return _Image(tuple(described["Layers"]), _json(archive, described["Config"], file))
    raise _no_image(file, "it has neither index.json nor manifest.json")


def _manifest(archive: tarfile.TarFile, index: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """That of the image; an index may have one for each platform, or point to another index."""
    listed = index["manifests"]
    of_ours = [each for each in listed if (each.get("platform") or {}).get("architecture", "amd64") == "amd64"]
    if len(of_ours) != 1:
        raise _no_image(file, f"it has {len(of_ours)} images for amd64; one is wanted")
    manifest: Mapping[str, Any] = _json(archive, _blob(of_ours[0]), file)
    return manifest if "layers" in manifest else _manifest(archive, manifest, file)


def _blob(described: Mapping[str, Any]) -> str:
    kind, _, digest = str(described["digest"]).partition(":")
    return f"blobs/{kind}/{digest}"


def _json(archive: tarfile.TarFile, name: str, file: Path) -> Any:
    return json.loads(_member(archive, name, file).read(_MOST_JSON_BYTES))


def _member(archive: tarfile.TarFile, name: str, file: Path) -> IO[bytes]:
    for written in (name, f"./{name}"):
        try:
            found = archive.extractfile(written)
        except KeyError:
            continue
        if found is not None:
            return found
    raise _no_image(file, f"it has no file {name}")


def _no_image(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file} is no OCI image: {why}", resolution="write one with 'podman save --format oci-archive -o app.tar IMAGE'"
    )
