"""Small files that must survive a crash and a power cut: replaced as a whole, or grown by whole lines."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A cut in the middle of a word or an escape is told that far before the end, at most.
_LONGEST_WORD = len("\\u0000")


def replace_text(file: Path, text: str, *, lasting: bool = True) -> None:
    """Replaces a file as ``replace_bytes`` does, by text in UTF-8."""
    replace_bytes(file, text.encode("utf-8", errors="surrogateescape"), lasting=lasting)


def replace_bytes(file: Path, content: bytes, *, lasting: bool = True) -> None:
    """Writes a file in one step: whoever reads it sees the old one or the new one, whole.

    With ``lasting`` it is on disk when this returns; without, a power cut may lose it: for what can be made again.
    OSError when there is no room: the old file is then as it was.
    """
    # Of this thread alone, and no link of somebody else's.
    fresh = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_native_id()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if lasting:
        flush(file.parent)


def append_line(file: Path, line: str) -> None:
    """Adds a line, which is on disk when this returns. It is one of its own even when a crash has cut off the one before."""
    is_new = not file.exists()
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        flush(file.parent)


def flush(path: Path) -> None:
    """A file or folder safely on disk (fsync(2)): of a folder, which files it holds under which names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_aside(file: Path) -> Path:
    """Gives a damaged file another name, where it can be looked at and is in nobody's way; the new name."""
    aside = file.with_name(f"{file.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = file.with_name(f"{file.name}.damaged-{number}")
    file.rename(aside)
    flush(file.parent)
    return aside


@dataclass(frozen=True)
class Lines:
    """A file of one JSON object a line: those that are whole, each with its text, and numbers of lines that cannot be read.

    A line that a crash has cut off is neither: it was not on disk yet, so what it announces was not done.
    """

    whole: list[tuple[str, dict[str, Any]]]
    damaged: list[int]


def read_lines(file: Path) -> Lines:
    """What is in a file that ``append_line`` has grown."""
    found = Lines([], [])
    # Of a line that the power was cut under, some file systems keep the length without the content.
    for number, raw in enumerate(file.read_bytes().split(b"\n"), 1):
        line = raw.strip(b"\0 \r")
        try:
            content = json.loads(line)
        except ValueError as error:
            if line and not _is_cut_off(line, error):
                found.damaged.append(number)
        else:
            if isinstance(content, dict):
                found.whole.append((line.decode(), content))
            else:
                found.damaged.append(number)
    return found


def _is_cut_off(line: bytes, error: ValueError) -> bool:
    """Whether it is the beginning of an object, and nothing is wrong with it but that it ends too early."""
    if isinstance(error, UnicodeDecodeError):
        return error.end == len(line) and error.reason == "unexpected end of data"
    assert isinstance(error, json.JSONDecodeError)
    ended = error.pos >= len(error.doc) - _LONGEST_WORD or error.msg.startswith("Unterminated string")
    return line.startswith(b"{") and ended
