"""Several things that are to be in the image store, made by one or by two who share them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from whimbrel.errors import interrupted
from whimbrel.images import recipes
from whimbrel.images.recipes import recipe_id
from whimbrel.images.store import BeingMadeError, ImageStore
from whimbrel.services.service import Image
from whimbrel.system.deadline import pause

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Job:
    """Something that is to be in the store under a name; ``what`` it is called in messages, and how it is made."""

    name: str
    what: str
    make: Callable[[], object]


def missing(jobs: Iterable[Job], store: ImageStore) -> list[Job]:
    """The jobs whose result is not there, each once, in their order."""
    return [job for job in {job.name: job for job in jobs}.values() if not store.holds(job.name)]


def make_all(
    jobs: Sequence[Job],
    store: ImageStore,
    told: Callable[[str], None],
    failed: Callable[[Job, Exception], None] | None = None,
) -> None:
    """Makes all that is not there. What somebody else is making is passed over, and waited for when nothing else is left.

    An error is raised; with ``failed`` that is called, and the job left to others.
    """
    settled: set[str] = set()
    waiting_for = ""
    while left := [job for job in missing(jobs, store) if job.name not in settled]:
        begun = False
        for job in left:
            try:
                with store.passing_over():
                    job.make()
            except BeingMadeError:
                continue
            except Exception as error:
                if failed is None or interrupted(error):
                    raise
                failed(job, error)
            settled.add(job.name)
            begun = True
        if not begun:
            if left[0].name != waiting_for:
                waiting_for = left[0].name
                told(f"waiting for {left[0].what}, which is being made beside")
            pause(_LOOK_EVERY_S)


def server_tree(store: ImageStore, suite: str) -> Job:
    """The making of what ``ImageStore.server_tree`` gives."""
    return Job(recipe_id(recipes.server_tree(suite)), "the server tree", lambda: store.server_tree(suite))


def guest_disk(store: ImageStore, size_bytes: int) -> Job:
    """The making of what ``ImageStore.guest_disk`` gives."""
    recipe = recipes.DiskRecipe(tree=recipe_id(recipes.guest_tree()), size_bytes=size_bytes)
    return Job(recipe_id(recipe), "the guest disk", lambda: store.guest_disk(size_bytes))


def film(store: ImageStore, bitrate_bytes_per_s: float, length_s: float) -> Job:
    """The making of what ``ImageStore.film`` gives."""
    recipe = recipes.FilmRecipe(bitrate_bytes_per_s=bitrate_bytes_per_s, length_s=length_s)
    return Job(recipe_id(recipe), f"a film of {length_s:.0f} s", lambda: store.film(bitrate_bytes_per_s, length_s))


def container_tree(store: ImageStore, image: Image) -> Job:
    """The making of what ``ImageStore.container_tree`` gives."""
    return Job(recipe_id(recipes.container_tree(image)), "the container tree", lambda: store.container_tree(image))


def container_payload(store: ImageStore, image: Image) -> Job:
    """The making of what ``ImageStore.container_payload`` gives."""
    recipe = recipes.PayloadRecipe(tree=recipe_id(recipes.container_tree(image)))
    return Job(recipe_id(recipe), "the container image", lambda: store.container_payload(image))


def criu_aid(store: ImageStore) -> Job:
    """The making of what ``ImageStore.criu_aid`` gives."""
    return Job(recipe_id(recipes.criu_aid()), "a library for CRIU", store.criu_aid)
