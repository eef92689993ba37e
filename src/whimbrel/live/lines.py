"""What is published, as lines of JSON between two of our processes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from whimbrel.events import Published, Sample
from whimbrel.records.trial import Event


def to_lines(news: Sequence[Published]) -> bytes:
    """Makes a line of each."""
    return b"".join(_line(each) for each in news)


def _line(news: Published) -> bytes:
    if isinstance(news, Sample):
        return json.dumps({"sample": news.source, "t_ns": news.t_ns, "values": dict(news.values)}).encode() + b"\n"
    return b'{"event": ' + news.model_dump_json().encode() + b"}\n"


def from_line(line: bytes) -> Published:
    """One of them back; ValueError when it is not one."""
    content = json.loads(line)
    if "event" in content:
        return Event.model_validate(content["event"])
    return Sample(content["sample"], content["t_ns"], content["values"])
