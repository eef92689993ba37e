"""What we created on the machine, written down before it is created, so that it can always be removed.

A ledger is one file of JSON lines beside one lock. Whoever holds the lock owns what the ledger lists; when nobody
holds it and it was not kept on purpose, its owner died, and ``gc`` may undo it.
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from whimbrel.durable import Lines, append_line, put_aside, read_lines, replace_text
from whimbrel.errors import CleanUpError, UsageError
from whimbrel.system import netns
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.clock import clock_id
from whimbrel.system.deadline import Deadline, pause
from whimbrel.system.folders import close_store, home, make_private, need_to_see
from whimbrel.system.process import run

# A record is a folder that says what the other things are for.
Kind = Literal["folder", "netns", "cgroup", "domain", "volume", "claim", "record"]

# In place of the boot in which something was kept.
_ANY_BOOT = "any boot"
# How the names of those begin that are used once.
_ONCE = "once-"
# How long a look at a ledger may hold its lock.
PROBE_S = 1.0
# Undone in this order: processes hold namespaces, and write into folders; hosts are ours until nothing of ours is left there.
_UNDO_ORDER: tuple[Kind, ...] = ("domain", "cgroup", "netns", "volume", "claim", "folder", "record")
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENTRIES = re.compile(r"\.jsonl\.damaged(-\d+)?$")

# How to remove kinds of things that this room knows nothing of; their makers say it.
undo_elsewhere: dict[str, Callable[[str], None]] = {}


def register_undo(kind: Kind, undo: Callable[[str], None]) -> None:
    """Says how things of a kind are removed, given their name in the ledger."""
    undo_elsewhere[kind] = undo


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
        elif self.kind in undo_elsewhere:
            undo_elsewhere[self.kind](self.name)
        else:
            assert self.kind in ("folder", "record"), f"nobody has said how to remove a {self.kind}"
            run(["rm", "-rf", "--one-file-system", "--", self.name])


class Ledger:
    """The list of one owner's things; use as a context manager to hold its lock, waiting ``patience_s`` for it."""

    def __init__(self, name: str, patience_s: float = PROBE_S) -> None:
        self.name = name
        self._patience_s = patience_s
        self._file = folder() / f"{name}.jsonl"
        self._kept = folder() / f"{name}.kept"
        self._lock: IO[str] | None = None
        # Whether everything is being removed: a first Ctrl-C must not stop that half-way.
        self.undoing = False

    @classmethod
    def once(cls, what: str) -> Ledger:
        """One that nobody will use again: no other has its name, and nothing of it stays when it is released empty."""
        return cls(f"{_ONCE}{what}-{secrets.token_hex(8)}")

    def __enter__(self) -> Ledger:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock; UsageError when another process holds it."""
        # All that we create is created under a ledger's lock.
        close_store()
        make_private(folder())
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
            if self.name.startswith(_ONCE):
                self.forget()

    @property
    def entries(self) -> list[Entry]:
        """What is listed, oldest first; a line cut off by a crash is not an entry yet, and one that is damaged cannot be one."""
        return [entry for _, content in self._lines.whole if (entry := _entry(content)) is not None]

    @property
    def damaged(self) -> bool:
        """Whether it lists something that nobody can read. It stays listed, and ``undo_all`` says so."""
        lines = self._lines
        return bool(lines.damaged) or any(_entry(content) is None for _, content in lines.whole)

    @property
    def _lines(self) -> Lines:
        return read_lines(self._file) if self._file.exists() else Lines([], [])

    @property
    def kept(self) -> bool:
        """Whether its things were left on purpose (``lab up``), and are not gone because the machine was booted since.

        Also when that file is damaged: something was left, so nobody but its owner may remove it.
        """
        said = self._kept_text
        if said is None:
            return False
        when = said.partition("\n")[0]
        return when in (clock_id(), _ANY_BOOT) or _BOOT_ID.fullmatch(when) is None

    @property
    def _kept_text(self) -> str | None:
        return self._kept.read_text(errors="replace") if self._kept.exists() else None

    def keep(self, note: str, elsewhere: bool = False) -> None:
        """Says that the things stay when we end; ``note`` is what a later command needs to know of them.

        What is ``elsewhere``, on hosts of others, outlives a boot of this machine.
        """
        replace_text(self._kept, f"{_ANY_BOOT if elsewhere else clock_id()}\n{note}")

    @property
    def note(self) -> str:
        """The note that ``keep`` was given."""
        return (self._kept_text or "").partition("\n")[2] if self.kept else ""

    def add(self, kind: Kind, name: str) -> Entry:
        """Writes down what is about to be created, safely on disk, before it is."""
        assert kind != "folder" or Path(name).is_absolute(), name
        entry = Entry(kind, name)
        append_line(self._file, json.dumps(asdict(entry)))
        return entry

    def undo(self, entry: Entry) -> None:
        """Removes one thing and strikes it from the list."""
        entry.undo()
        self.strike(entry)

    def strike(self, entry: Entry) -> None:
        """Takes an entry off the list because the thing is gone, or is no longer ours to remove."""
        if not self._file.exists():
            return
        struck = {text for text, content in self._lines.whole if _entry(content) == entry}
        # What is damaged stays as it is.
        lines = self._file.read_text(errors="surrogateescape").split("\n")
        replace_text(self._file, "".join(f"{line}\n" for line in lines if line and line.strip("\0 \r") not in struck))

    def undo_all(self) -> None:
        """Removes everything; one failure skips nothing, and CleanUpError names all that is left.

        Only what says what the rest is for stays while any of that rest does.
        """
        failures: list[str] = []
        self.undoing = True
        try:
            # From here on it is not left on purpose any more: 'gc' goes on where this ends.
            self._kept.unlink(missing_ok=True)
            for entry in sorted(self.entries, key=lambda entry: _UNDO_ORDER.index(entry.kind)):
                if entry.kind == "record" and failures:
                    continue
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
                resolution="mend what is named above; 'whimbrel gc' then removes them",
            )
        if self.damaged:
            raise CleanUpError(
                f"something of {self.name!r} may be left on the machine", details=_unreadable(put_aside(self._file))
            )
        self._file.unlink(missing_ok=True)
        # Lists that were about to be written when a kill came.
        for fresh in folder().glob(f".{self.name}.*.new"):
            fresh.unlink(missing_ok=True)

    def forget(self) -> None:
        """Removes the lock of a ledger that nobody will use again, once all that it listed is gone."""
        if not self._file.exists() and not self._kept.exists():
            (folder() / f"{self.name}.lock").unlink(missing_ok=True)

    @property
    def owned(self) -> bool:
        """Whether a living process holds the lock."""
        try:
            with (folder() / f"{self.name}.lock").open() as lock:
                return not _lock(lock, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False


def _entry(content: dict[str, Any]) -> Entry | None:
    """The entry that a line describes; None when it describes none."""
    kind, name = content.get("kind"), content.get("name")
    return Entry(kind, name) if kind in _UNDO_ORDER and isinstance(name, str) and len(content) == 2 else None


def unreadable() -> list[str]:
    """What is said of each ledger that nobody could read to its end, and whose file is still there."""
    return [_unreadable(file) for file in sorted(folder().glob("*")) if _ENTRIES.search(file.name)]


def _unreadable(file: Path) -> str:
    return f"{file}: lines of it cannot be read; look at them, remove by hand what they list, then remove that file"


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def folder() -> Path:
    """The folder where ledgers lie."""
    return home() / "ledger"


def all_ledgers() -> Iterator[Ledger]:
    """Every ledger on this machine; CapabilityError for who may not see them."""
    need_to_see(folder(), "what there is of labs")
    for name in sorted({file.stem for kind in ("*.jsonl", "*.kept") for file in folder().glob(kind)}):
        yield Ledger(name)
