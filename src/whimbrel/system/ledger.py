"""What we created on the machine, written down before it is created, so that it can always be removed.

A ledger is one file of JSON lines beside one lock. Whoever holds the lock owns what the ledger lists; when nobody
holds it and it was not kept on purpose, its owner died, and ``gc`` may undo it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from whimbrel.errors import CleanUpError, UsageError
from whimbrel.system import netns
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.clock import clock_id
from whimbrel.system.deadline import Deadline, pause
from whimbrel.system.places import home
from whimbrel.system.process import run

Kind = Literal["folder", "netns", "cgroup", "domain", "volume", "claim"]

# In place of the boot in which something was kept.
_ANY_BOOT = "any boot"
# How long a look at a ledger may hold its lock.
_PROBE_S = 1.0
# Undone in this order: processes hold namespaces, and write into folders; hosts are ours until nothing of ours is left there.
_UNDO_ORDER: tuple[Kind, ...] = ("domain", "cgroup", "netns", "volume", "claim", "folder")

# How to remove kinds of things that this room knows nothing of; their makers say it.
_undo_elsewhere: dict[str, Callable[[str], None]] = {}


def register_undo(kind: Kind, undo: Callable[[str], None]) -> None:
    """Says how things of a kind are removed, given their name in the ledger."""
    _undo_elsewhere[kind] = undo


@dataclass(frozen=True)
class Entry:
    """One thing of ours: a folder's path, the name of a namespace or control group, or what its maker needs to find it."""

    kind: Kind
    name: str

    def undo(self) -> None:
        """Removes the thing; nothing happens when it is not there."""
        if self.kind == "cgroup":
            group = Cgroup(self.name)
            group.kill()
            group.remove()
        elif self.kind == "netns":
            netns.delete(self.name)
        elif self.kind in _undo_elsewhere:
            _undo_elsewhere[self.kind](self.name)
        else:
            assert self.kind == "folder", f"nobody has said how to remove a {self.kind}"
            run(["rm", "-rf", "--one-file-system", "--", self.name])


class Ledger:
    """The list of one owner's things; use as a context manager to hold its lock, waiting ``patience_s`` for it."""

    def __init__(self, name: str, patience_s: float = _PROBE_S) -> None:
        self.name = name
        self._patience_s = patience_s
        self._file = folder() / f"{name}.jsonl"
        self._kept = folder() / f"{name}.kept"
        self._lock: IO[str] | None = None
        # Whether everything is being removed: a first Ctrl-C must not stop that half-way.
        self.undoing = False

    def __enter__(self) -> Ledger:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock; UsageError when another process holds it."""
        folder().mkdir(parents=True, exist_ok=True)
        lock = (folder() / f"{self.name}.lock").open("a")
        deadline = Deadline(self._patience_s)
        while not _lock(lock, fcntl.LOCK_EX):
            # Somebody may only be asking whether it is owned.
            if deadline.passed:
                lock.close()
                raise UsageError(
                    f"{self.name!r} is in use by another whimbrel", resolution="wait for it, or give the lab another name"
                )
            pause(0.05)
        self._lock = lock

    def release(self) -> None:
        """Lets go of the lock; what is listed stays listed."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def entries(self) -> list[Entry]:
        """What is listed, oldest first; a last line cut off by a crash is not an entry yet."""
        if not self._file.exists():
            return []
        found = []
        for line in self._file.read_text().splitlines():
            try:
                found.append(Entry(**json.loads(line)))
            except (json.JSONDecodeError, TypeError):
                continue
        return found

    @property
    def kept(self) -> bool:
        """Whether its things were left on purpose (``lab up``), and are not gone because the machine was booted since."""
        return self._kept.exists() and self._kept.read_text().partition("\n")[0] in (clock_id(), _ANY_BOOT)

    def keep(self, note: str, elsewhere: bool = False) -> None:
        """Says that the things stay when we end; ``note`` is what a later command needs to know of them.

        What is ``elsewhere``, on hosts of others, outlives a boot of this machine.
        """
        self._kept.write_text(f"{_ANY_BOOT if elsewhere else clock_id()}\n{note}")

    @property
    def note(self) -> str:
        """What ``keep`` was told."""
        return self._kept.read_text().partition("\n")[2] if self.kept else ""

    def add(self, kind: Kind, name: str) -> Entry:
        """Writes down what is about to be created, safely on disk, before it is."""
        assert kind != "folder" or Path(name).is_absolute(), name
        entry = Entry(kind, name)
        with self._file.open("a") as stream:
            # On a line of its own even when a crash has cut the last one off.
            stream.write("\n" + json.dumps(asdict(entry)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        return entry

    def undo(self, entry: Entry) -> None:
        """Removes one thing and strikes it from the list."""
        entry.undo()
        self.strike(entry)

    def strike(self, entry: Entry) -> None:
        """Takes an entry off the list because the thing is gone, or is no longer ours to remove."""
        left = [other for other in self.entries if other != entry]
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(json.dumps(asdict(other)) + "\n" for other in left))
        fresh.replace(self._file)

    def undo_all(self) -> None:
        """Removes everything; one failure skips nothing, and CleanUpError names all that is left."""
        failures = []
        self.undoing = True
        try:
            for entry in sorted(self.entries, key=lambda entry: _UNDO_ORDER.index(entry.kind)):
                try:
                    self.undo(entry)
                except Exception as error:  # each thing is tried; the failures are raised together below
                    failures.append(f"{entry.kind} {entry.name}: {error}")
        finally:
            self.undoing = False
        if failures:
            raise CleanUpError(
                f"{len(failures)} things of {self.name!r} are left on the machine",
                details="\n".join(failures),
                resolution="run 'whimbrel gc' again; what it cannot remove is named above",
            )
        self._file.unlink(missing_ok=True)
        self._kept.unlink(missing_ok=True)

    @property
    def owned(self) -> bool:
        """Whether a living process holds the lock."""
        try:
            with (folder() / f"{self.name}.lock").open() as lock:
                return not _lock(lock, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def folder() -> Path:
    """Where ledgers lie."""
    return home() / "ledger"


def all_ledgers() -> Iterator[Ledger]:
    """Every ledger on this machine."""
    for name in sorted({file.stem for kind in ("*.jsonl", "*.kept") for file in folder().glob(kind)}):
        yield Ledger(name)
