#!/usr/bin/python3
"""Counts in a database, and prints a line for each number that it has taken: a client that notices when one is lost.

    count.py redis ADDRESS        by INCR
    count.py postgresql ADDRESS   by a commit for each number, through psql (Debian's postgresql-client)

Each answer also says how many numbers there were before. When one is gone that was
answered for, the program ends with exit code 1. What was under way when a connection broke may be there or not.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Protocol

EVERY_S = 0.02
PATIENCE_S = 5.0
AGAIN_S = 0.1


class Database(Protocol):
    """What it counts in."""

    def known(self) -> int:
        """How many numbers are there."""

    def add(self, number: int) -> int:
        """Adds this one; how many there were before."""

    def close(self) -> None:
        """Leaves it."""


class Redis:
    """A counter in a Redis. Implements ``Database``."""

    def __init__(self, address: str) -> None:
        self._connection = socket.create_connection((address, 6379), PATIENCE_S)
        self._connection.settimeout(None)
        self._lines = self._connection.makefile("rb")

    def _ask(self, words: str) -> bytes:
        self._connection.sendall(words.encode() + b"\r\n")
        answer = self._lines.readline()
        if answer[:1] not in (b":", b"$"):
            raise ConnectionError(answer.decode(errors="replace").strip() or "it closed the connection")
        return answer

    def known(self) -> int:
        """What the counter says."""
        return int(self._lines.readline()) if self._ask("GET counted") != b"$-1\r\n" else 0

    def add(self, number: int) -> int:
        """One more."""
        return int(self._ask("INCR counted")[1:]) - 1

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class Postgresql:
    """A table in a PostgreSQL. psql prints what a statement returns once that is committed. Implements ``Database``."""

    def __init__(self, address: str) -> None:
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", f"host={address} user=postgres connect_timeout={PATIENCE_S:.0f}"]
        self._psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say("SET client_min_messages = error")
        self._say("CREATE TABLE IF NOT EXISTS counted (number bigint PRIMARY KEY)")

    def _say(self, statement: str) -> None:
        assert self._psql.stdin is not None
        self._psql.stdin.write(f"{statement};\n")
        self._psql.stdin.flush()

    def _ask(self, statement: str) -> int:
        self._say(statement)
        assert self._psql.stdout is not None
        answer = self._psql.stdout.readline()
        if not answer:
            raise ConnectionError("psql has ended")
        return int(answer)

    def known(self) -> int:
        """The rows of the table."""
        return self._ask("SELECT count(*) FROM counted")

    def add(self, number: int) -> int:
        """A row; as it is committed, the others are those that its own statement has seen."""
        return self._ask(f"INSERT INTO counted VALUES ({number}) RETURNING (SELECT count(*) FROM counted)")

    def close(self) -> None:
        """Ends psql."""
        self._psql.kill()
        self._psql.wait()


def need(is_so: bool, counted: int | None, known: int) -> None:
    """Ends the program unless it is so."""
    if not is_so:
        sys.exit(f"{counted} were counted, and {known} are there")


def count(database: Database, counted: int | None) -> int:
    """Counts until the connection is lost; up to which number it came."""
    known = database.known()
    # One more may have been under way when the connection before was lost.
    need(counted is None or known in (counted, counted + 1), counted, known)
    counted = known
    due_s = time.monotonic()
    try:
        while True:
            before = database.add(counted + 1)
            need(before == counted, counted, before)
            counted += 1
            sys.stdout.write(f"{counted}\n")
            sys.stdout.flush()
            due_s = max(due_s + EVERY_S, time.monotonic())
            time.sleep(due_s - min(due_s, time.monotonic()))
    except ConnectionError as error:
        sys.stderr.write(f"lost: {error}\n")
        return counted


def main() -> None:
    """Connects, counts, and connects again."""
    kinds: dict[str, type[Redis] | type[Postgresql]] = {"redis": Redis, "postgresql": Postgresql}
    kind, address = kinds[sys.argv[1]], sys.argv[2]
    counted: int | None = None
    while True:
        try:
            database: Database = kind(address)
            try:
                counted = count(database, counted)
            finally:
                database.close()
        except OSError as error:
            sys.stderr.write(f"again: {error}\n")
        time.sleep(AGAIN_S)


if __name__ == "__main__":
    main()
