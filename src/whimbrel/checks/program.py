"""``exec:COMMAND``: a program that asks for us. Exit code 0 is a good answer; with ``lines`` each line of one that stays is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.system.ending import end_of
from whimbrel.system.process import Running, start

_MOST_OUTPUT_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_END_S = 1.0


class _Output:
    """What a program prints, read as it comes."""

    def __init__(self, running: Running, heard: Callable[[bytes, int], None]) -> None:
        self._descriptor = running.stdout.fileno()
        self._heard = heard
        self.ended = asyncio.get_running_loop().create_future()
        os.set_blocking(self._descriptor, False)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._heard(data, time.monotonic_ns())
        else:
            self.close()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        if not self.ended.done():
            self.ended.set_result(None)


def _start(command: str) -> Running:
    return start(["sh", "-c", command], stdout=True)


def _end(running: Running) -> int:
    running.kill_all()
    return running.stop(_END_S, ask=False)


class ProgramAsker:
    """Runs a command for each question."""

    def __init__(self, check: Check) -> None:
        self._command = _command(check)
        self._text = check.option("text").encode()

    async def ask(self) -> Answer:
        """One run of it; all that it has started ends with it."""
        running = _start(self._command)
        said = bytearray()

        def hear(data: bytes, _: int) -> None:
            if len(said) < _MOST_OUTPUT_BYTES:
                said.extend(data)

        output = _Output(running, hear)
        try:
            answered_ns = await end_of(running)
            if self._text:
                await output.ended
        finally:
            output.close()
            code = _end(running)
        if code != 0:
            raise Failed("wrong-answer", f"exit code {code}" if code > 0 else f"killed by signal {-code}")
        if self._text not in said:
            raise Failed("wrong-answer", "the text that is expected is not in what it prints")
        return Answer(answered_ns)

    async def close(self) -> None:
        """Nothing is kept open between two questions."""


class ProgramListener:
    """Hears a command that stays; it is started anew when it has ended."""

    def __init__(self, check: Check) -> None:
        self._command = _command(check)
        self._text = check.option("text").encode()

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Each line is something heard; with ``text``, each that has it in it."""
        running = _start(self._command)
        rest = b""

        def hear(data: bytes, now_ns: int) -> None:
            nonlocal rest
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_READ_BYTES:]
            for line in lines:
                if self._text in line:
                    heard(now_ns)

        output = _Output(running, hear)
        try:
            await end_of(running)
        finally:
            output.close()
            code = _end(running)
        raise Failed("wrong-answer", f"it has ended, with exit code {code}")

    def film(self, position: int) -> None:
        """It plays no film."""

    async def close(self) -> None:
        """Nothing is kept open between two questions."""


def _command(check: Check) -> str:
    command = check.url.removeprefix("exec:").strip()
    if not command or "\0" in command:
        raise check.wrong("it names no command")
    return command


class _Program:
    schemes = ("exec",)
    prefix = "exec:"
    rate_per_s = 1.0
    options = {  # noqa: RUF012
        "lines": "the command stays up, and prints a line per answer",
        "text": "what a good answer, or line, has in it",
    }

    def listens(self, check: Check) -> bool:
        return check.flag("lines")

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return ProgramListener(check) if self.listens(check) else ProgramAsker(check)


KIND = _Program()
