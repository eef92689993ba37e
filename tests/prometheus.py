"""Debian's Prometheus as it is packaged, unpacked beside the tests: installed, it would start a server of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from whimbrel.system.deadline import Deadline, wait_until

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whimbrel-check" / "prometheus"


@cache
def program(name: str) -> str:
    """``prometheus`` or ``promtool``, wherever it is; a test is skipped where it cannot be had."""
    installed = shutil.which(name)
    if installed is not None:
        return installed
    if not (CACHE / "usr" / "bin" / name).exists():
        _unpack()
    return str(CACHE / "usr" / "bin" / name)


def _unpack() -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("Prometheus is not installed, and this is no Debian")
    place = CACHE.with_name("prometheus.partial")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    fetched = subprocess.run(["apt-get", "download", "prometheus"], cwd=place, capture_output=True, text=True, timeout=300)
    if fetched.returncode:
        pytest.skip(f"Prometheus is not installed, and Debian's package cannot be had: {fetched.stderr.strip()[-200:]}")
    [package] = place.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, place], check=True, timeout=120)
    package.unlink()
    shutil.rmtree(CACHE, ignore_errors=True)
    place.rename(CACHE)


@contextmanager
def scraping(metrics_url: str, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes this URL four times a second, with its data in ``folder``: its own URL."""
    where = urllib.parse.urlsplit(metrics_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "prometheus.yml"
    file.write_text(json.dumps({"scrape_configs": [{
        "job_name": "whimbrel", "scrape_interval": "250ms", "scrape_timeout": "250ms", "metrics_path": where.path,
        "static_configs": [{"targets": [where.netloc]}],
    }]}))  # fmt: skip
    command = [program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: (_is_ready(url) or None, (folder / "log").read_text()[-500:]), "Prometheus", Deadline(60))
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """What it answers to a query of PromQL: series, each with ``metric`` and ``value``, or ``values`` for a range."""
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    return found
