"""A stream of another server than nginx's: rtmplite3 (PyPI), to which FFmpeg's libraries publish, seen live by ``watch``."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from whimbrel.images.film import make_film
from whimbrel.images.recipes import FilmRecipe
from whimbrel.system.process import Running, start

PROJECT = Path(__file__).parents[2]
SERVER = shutil.which("rtmplite3")
PAUSE_S = 0.8

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SERVER is None, reason="rtmplite3 is not on the PATH (pip install rtmplite3)"),
]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[tuple[Running, str]]:
    """The server, and the URL of a stream that is being published to it."""
    film = tmp_path / "film.flv"
    make_film(FilmRecipe(bitrate_bytes_per_s=62_500, length_s=40.0, width=320, height=180), film)
    with socket.socket() as free, ExitStack() as holding:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        assert SERVER is not None
        server = start([SERVER, "-i", "127.0.0.1", "-p", str(port), "-r", f"{tmp_path}/"], log_file=tmp_path / "server.log")
        holding.callback(server.stop, 1.0)
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        url = f"rtmp://127.0.0.1:{port}/live/film"
        publisher = start([sys.executable, PROJECT / "tests" / "publisher.py", film, url], log_file=tmp_path / "publisher.log")
        holding.callback(publisher.stop, 1.0)
        time.sleep(1.5)
        yield server, url


def watch(url: str, command: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "whimbrel", "watch", "--json", "--rtmp", f"{url}#film,buffer=300ms", "--before", "2s"]
    done = subprocess.run(
        [*words, "--after", "3s", "--", "sh", "-c", command], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["checks"][0]
    return found


def test_its_stream_plays_and_a_server_that_stands_still_is_its_gap(stream: tuple[Running, str]) -> None:
    server, url = stream
    untouched = watch(url, "sleep 1")
    assert (untouched["failed"], untouched["connections_lost"], untouched["stream"]["stalls"]) == (0, 0, 0)
    assert untouched["longest_gap_s"] < 0.5
    pid = shlex.quote(str(server.pid))
    found = watch(url, f"kill -{signal.SIGSTOP} {pid}; sleep {PAUSE_S}; kill -{signal.SIGCONT} {pid}")
    assert PAUSE_S <= found["longest_gap_s"] < PAUSE_S + 0.6
    assert found["gap_stands_out"]
    # A live stream is no further ahead than it is published, so that its player stands still.
    assert found["stream"]["stalls"] >= 1
    assert found["connections_lost"] == 0
