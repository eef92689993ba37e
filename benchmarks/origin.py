"""A real nginx-RTMP on this machine, without a guest: the container image's tree in namespaces with only a loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whimbrel.images.build import tree as build_tree
from whimbrel.images.recipes import container_tree
from whimbrel.images.store import ImageStore
from whimbrel.services.nginx import STREAM
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import Running, run, start

URL = "rtmp://127.0.0.1:1935/film/film.flv"

_SCRIPT = r"""
set -eu
ip link set lo up
mount --make-rprivate /
mount -t tmpfs own "$FOLDER"
mkdir "$FOLDER/upper" "$FOLDER/work" "$FOLDER/root"
mount -t overlay -o "lowerdir=$TREE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" overlay "$FOLDER/root"
mount --bind "$FILM" "$FOLDER/root/srv/film"
mount --bind /dev/null "$FOLDER/root/dev/null" 2>/dev/null || mount --bind /dev "$FOLDER/root/dev"
mount -t proc proc "$FOLDER/root/proc"
mkdir -p "$FOLDER/root/run"
exec chroot "$FOLDER/root" nginx -g 'daemon off;'
"""


@dataclass(frozen=True)
class Origin:
    """An origin that serves; only commands made by ``inside`` reach it."""

    process: Running

    def inside(self, command: Sequence[str]) -> Sequence[str]:
        """The command that runs in the origin's network; nothing else of the machine changes for it."""
        child = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0]
        return ["nsenter", f"--net=/proc/{child}/ns/net", *command]


@contextmanager
def native_origin(folder: Path, bitrate_bytes_per_s: float, length_s: float, film: Path | None = None) -> Iterator[Origin]:
    """Serves a film of this bitrate and length at ``URL``, or what lies in the folder ``film``.

    It goes with all it mounted when its process ends.
    """
    store = ImageStore()
    recipe = container_tree(STREAM.image)
    image = store.ensure(recipe, "the container tree", lambda out, ledger: build_tree(recipe, out, ledger))
    film = film or store.film(bitrate_bytes_per_s, length_s)
    place = folder / "origin"
    place.mkdir()
    process = start(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _SCRIPT],
        env={"TREE": str(image / "tree"), "FILM": str(film), "FOLDER": str(place)}, log_file=folder / "origin.log",
    )  # fmt: skip
    origin = Origin(process)

    def look() -> tuple[bool | None, str]:
        try:
            asked = run(origin.inside(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1935"]), check=False)
        except (OSError, IndexError):
            return None, "not yet in its namespaces"
        return (True if asked.exit_code == 0 else None), (folder / "origin.log").read_text()[-300:]

    try:
        wait_until(look, "an answer of nginx", Deadline(20))
        yield origin
    finally:
        # unshare does not end on SIGTERM while its child runs, and takes that with it when it is killed.
        process.signal(signal.SIGKILL)
        process.stop(ask=False)
