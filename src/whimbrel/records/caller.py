"""Whose rights count where root writes into a folder that a user has named, so that no link there leads it elsewhere.

Those of the user who called sudo, whose results they are. Root that nobody called writes with the rights of the first user who
could have led it elsewhere: whom a folder on the way belongs to, or a link. Where that is nobody, root writes as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from whimbrel.durable import replace_bytes
from whimbrel.errors import UsageError

callers_umask: int | None = None


def note_umask(umask: int) -> None:
    """What the caller's own umask was, before this process took another one: it counts for what is written as the caller."""
    global callers_umask
    callers_umask = umask


@dataclass(frozen=True)
class User:
    """A user of this machine."""

    uid: int
    gid: int

    @property
    def groups(self) -> list[int]:
        """All groups that the user is in."""
        try:
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:
            return [self.gid]


def caller() -> User | None:
    """Who called sudo; None when nobody did, or we are not root."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not user.isdecimal() or not group.isdecimal() or user == "0":
        return None
    return User(int(user), int(group))


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Within it what is written into this folder, or made of it, is written with the rights that count there.

    They are the whole process's: nothing that needs root may go on beside it, but files that are open stay open.
    """
    user = _writer(folder)
    if user is None:
        yield
    else:
        with _as(user):
            yield


def make_folder(folder: Path) -> None:
    """Makes a folder for results, which is the caller's; UsageError where that would have to go through a link as root."""
    user = caller()
    if user is None:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return
    try:
        with _as(user):
            folder.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        _make_for(user, folder)


def copy_tree(source: Path, target: Path) -> None:
    """Copies files that root alone may read to where others may write: in the place of ``target``, and safely on disk."""
    with ExitStack() as holding:
        found = [path for path in sorted(source.rglob("*")) if path.is_file()]
        opened = {path.relative_to(source): holding.enter_context(path.open("rb")) for path in found}
        with writing_to(target.parent):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name, content in opened.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with (target / name).open("xb") as copy:
                    shutil.copyfileobj(content, copy)
                    copy.flush()
                    os.fsync(copy.fileno())


def write_file(file: Path, content: bytes, *, lasting: bool = True) -> None:
    """Writes a file in one step with the rights that count in its folder; ``lasting``: see ``durable.replace_bytes``."""
    with writing_to(file.parent):
        replace_bytes(file, content, lasting=lasting)


def _writer(folder: Path) -> User | None:
    """Whose rights count; None for our own."""
    if os.geteuid() != 0:
        return None
    user, stranger = caller(), _first_stranger(folder)
    if user is None or (stranger is None and not _may_write(user, folder)):
        return stranger
    return user


def _first_stranger(folder: Path) -> User | None:
    """The first, from the top, to whom something on the way to a folder belongs, and who is not root."""
    for way in (folder.absolute(), folder.resolve()):
        for part in (*reversed(way.parents), way):
            if not os.path.lexists(part):
                break
            state = part.lstat()
            if state.st_uid != 0:
                return User(state.st_uid, state.st_gid)
    return None


def _may_write(user: User, folder: Path) -> bool:
    """Whether he may write into the folder, or make it."""
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    with _as(user):
        return os.access(there, os.W_OK | os.X_OK, effective_ids=True)


@contextmanager
def _as(user: User) -> Iterator[None]:
    """Lets the block run with a user's rights to files; those of root come back whatever happens."""
    groups, group = os.getgroups(), os.getegid()
    umask = os.umask(0o022)
    os.umask(umask if callers_umask is None else callers_umask)
    try:
        os.setgroups(user.groups)
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
        os.umask(umask)


def _make_for(user: User, folder: Path) -> None:
    """What is missing on the way to a folder is made by root and given to a user, where he can get to it; no link is followed."""
    path = Path("/")
    here = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        for name in folder.absolute().parts[1:]:
            with _as(user):
                gets_there = os.access(path, os.X_OK, effective_ids=True)
            path /= name
            made = _make_in(here, name)
            if made and gets_there:
                os.chown(name, user.uid, user.gid, dir_fd=here, follow_symlinks=False)
            there = _enter(here, name, path)
            os.close(here)
            here = there
    finally:
        os.close(here)


def _make_in(here: int, name: str) -> bool:
    try:
        os.mkdir(name, dir_fd=here)
    except FileExistsError:
        return False
    return True


def _enter(here: int, name: str, path: Path) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    except NotADirectoryError as error:
        raise UsageError(
            f"{path} is a link, or no folder: root makes no folder behind it", resolution="name the folder itself"
        ) from error
