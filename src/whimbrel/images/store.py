"""Images by the hash of what went into them: built once, kept until removed, never half there."""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from whimbrel.durable import flush, replace_text
from whimbrel.errors import TrialError, UsageError
from whimbrel.images import build, recipes
from whimbrel.images.recipes import (
    SUITE,
    ArchiveRecipe,
    DiskRecipe,
    FilmRecipe,
    PayloadRecipe,
    Recipe,
    container_tree,
    criu_aid,
    guest_tree,
    recipe_id,
    server_tree,
)
from whimbrel.services.service import Archive, CloudDisk, Image
from whimbrel.system.folders import home, make_private, need_to_see
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
Notice = Callable[[str], None]


class BeingMadeError(TrialError):
    """Somebody else is making this image now."""


@dataclass(frozen=True)
class StoredImage:
    """One image in the store; ``disk_bytes`` is what it really takes."""

    id: str
    folder: Path
    disk_bytes: int
    manifest: dict[str, object]


class ImageStore:
    """The images of this machine. ``notice`` is told of each build, which can take a minute."""

    def __init__(self, notice: Notice = lambda text: None) -> None:
        self.folder = home() / "images"
        self._notice = notice
        self._waits = True

    def server_tree(self, suite: str = SUITE) -> Path:
        """The root file system of lab servers."""
        recipe = server_tree(suite)
        return (
            self.ensure(
                recipe,
                "the server tree (Debian packages, about a minute)",
                lambda out, ledger: build.tree(recipe, out, ledger),
            )
            / "tree"
        )

    def guest_tree(self) -> Path:
        """The root file system of guests."""
        recipe = guest_tree()
        what = "the guest tree (Debian packages, about a minute)"
        return self.ensure(recipe, what, lambda out, ledger: build.tree(recipe, out, ledger)) / "tree"

    def guest_disk(self, size_bytes: int) -> Path:
        """A folder with ``disk.raw``, ``vmlinuz`` and ``initrd.img``."""
        tree = self.guest_tree()
        recipe = DiskRecipe(tree=tree.parent.name, size_bytes=size_bytes)
        return self.ensure(recipe, "the guest disk", lambda out, _: build.disk(recipe, tree, out))

    def film(self, bitrate_bytes_per_s: float, length_s: float) -> Path:
        """A folder with ``disk.raw`` (a file system that holds film.flv) and ``film.flv``."""
        recipe = FilmRecipe(bitrate_bytes_per_s=bitrate_bytes_per_s, length_s=length_s)
        return self.ensure(recipe, f"a film of {length_s:.0f} s", lambda out, _: build.film(recipe, out))

    def container_tree(self, image: Image) -> Path:
        """The root file system of a service's containers."""
        recipe = container_tree(image)
        if isinstance(recipe, ArchiveRecipe):
            assert isinstance(image, Archive)
            what, made_of = f"the container tree of {image.file.name}", image
            return self.ensure(recipe, what, lambda out, _: build.archive(recipe, made_of, out)) / "tree"
        return (
            self.ensure(recipe, "the container tree (Debian packages)", lambda out, ledger: build.tree(recipe, out, ledger))
            / "tree"
        )

    def container_payload(self, image: Image) -> Path:
        """A folder with ``disk.raw``, a file system that holds the rootfs.tar of a service's container."""
        tree = self.container_tree(image)
        recipe = PayloadRecipe(tree=recipe_id(container_tree(image)))
        return self.ensure(recipe, "the container image", lambda out, _: build.payload(tree, out))

    def cloud_disk(self, image: CloudDisk) -> Path:
        """The user's own disk, as a file that is named after its format."""
        recipe = recipes.cloud_disk(image)
        folder = self.ensure(recipe, f"a copy of {image.file.name}", lambda out, _: build.cloud_disk(recipe, image, out))
        return folder / f"disk.{recipe.format}"

    def seed(self, image: CloudDisk, mac: str, address: str) -> Path:
        """A folder with ``disk.raw``, on which that disk's cloud-init finds what it is to do."""
        recipe = recipes.seed(image, mac, address)
        tree = self.guest_tree()
        return self.ensure(recipe, "what cloud-init is told", lambda out, _: build.seed(recipe, tree, out))

    def criu_aid(self) -> Path:
        """A library for CRIU, in a server or a carrier."""
        recipe = criu_aid()
        return self.ensure(recipe, "a library for CRIU", lambda out, _: build.library(recipe, out)) / f"{recipe.name}.so"

    def has(self, recipe: Recipe) -> bool:
        """Whether the recipe's image is there already."""
        return self.holds(recipe_id(recipe))

    def holds(self, name: str) -> bool:
        """Whether there is an image of this name."""
        return (self.folder / name / _MANIFEST).exists()

    @contextmanager
    def passing_over(self) -> Iterator[None]:
        """While it is entered, an image that somebody else is making is not waited for: BeingMadeError."""
        self._waits = False
        try:
            yield
        finally:
            self._waits = True

    def ensure(self, recipe: Recipe, what: str, make: Callable[[Path, Ledger], None]) -> Path:
        """The folder of the recipe's image, made by ``make`` when it is not there."""
        return self.ensure_named(recipe_id(recipe), asdict(recipe), what, make)

    def ensure_named(self, name: str, content: Mapping[str, object], what: str, make: Callable[[Path, Ledger], None]) -> Path:
        """As ``ensure``, for images that are made from more than a recipe, such as saved states."""
        folder = self.folder / name
        if self.holds(name):
            _check(folder)
            return folder
        with self._building(name) as ledger:
            if self.holds(name):
                return folder
            partial = self.folder / f"{name}.partial"
            entry = ledger.add("folder", str(partial))
            self._notice(f"making {what}")
            entry.undo()
            partial.mkdir(parents=True)
            make(partial, ledger)
            manifest = {"id": name, "recipe": dict(content), **build.describe(partial)}
            replace_text(partial / _MANIFEST, json.dumps(manifest, indent=1))
            partial.rename(folder)
            flush(self.folder)
            ledger.strike(entry)
        return folder

    @contextmanager
    def _building(self, name: str) -> Iterator[Ledger]:
        """One builder per image; another one waits for it, or passes it over. What is half made goes away."""
        make_private(self.folder)
        with (self.folder / f".{name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if self._waits else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BeingMadeError(f"{name} is being made by somebody else") from error
            with Ledger(f"image-{name}") as ledger:
                try:
                    yield ledger
                finally:
                    ledger.undo_all()

    def images(self) -> list[StoredImage]:
        """What is stored, by name; CapabilityError for who may not see it."""
        need_to_see(self.folder, "the images")
        found = []
        for manifest in sorted(self.folder.glob(f"*/{_MANIFEST}")):
            folder = manifest.parent
            size = int(run(["du", "-s", "-B1", folder], check=False).stdout.split()[0])
            found.append(StoredImage(folder.name, folder, size, _manifest_of(folder)))
        return found

    def remove(self, name: str) -> None:
        """Removes one image; UsageError when there is none of this name."""
        folder = self.folder / name
        if "/" in name or not (folder / _MANIFEST).exists():
            raise UsageError(f"there is no image {name!r}", resolution="'whimbrel images list' shows those there are")
        with Ledger(f"image-{name}") as ledger:
            entry = ledger.add("folder", str(self.folder / f"{name}.partial"))
            # What an interrupted build has left lies where this one is to go.
            entry.undo()
            folder.rename(entry.name)
            ledger.undo_all()


def _manifest_of(folder: Path) -> dict[str, object]:
    """Empty when it cannot be read: the image is listed all the same, and refused when it is to be used."""
    try:
        content = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        log.warning("%s: is damaged: %s", folder / _MANIFEST, error)
        return {}
    return content if isinstance(content, dict) else {}


def _check(folder: Path) -> None:
    """TrialError when a file of the image is missing or has another size than when it was made."""
    try:
        sizes = json.loads((folder / _MANIFEST).read_text()).get("files", {})
        wrong = [name for name, size in sizes.items() if (folder / name).stat().st_size != size]
        problem = f"{wrong[0]} has another size than when it was made" if wrong else None
    except (OSError, ValueError, AttributeError) as error:
        problem = str(error)
    if problem is not None:
        raise TrialError(
            f"the image {folder.name} is damaged", details=problem,
            resolution=f"'whimbrel images remove {folder.name}' and run again",
        )  # fmt: skip
