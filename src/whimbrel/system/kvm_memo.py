"""Whether a guest was seen to boot in KVM: asked once per boot of the machine, since asking in vain takes a while."""

from __future__ import annotations

import json

from whimbrel.durable import replace_text
from whimbrel.system.clock import clock_id
from whimbrel.system.folders import home


def remember(key: str, works: bool) -> None:
    """Keeps the answer for guests named by ``key``, until the machine boots again."""
    replace_text(home() / "kvm.json", json.dumps({"clock_id": clock_id(), "key": key, "works": works}))


def recall(key: str | None = None) -> bool | None:
    """The answer for ``key``, or for whatever was tried last; None when nothing was tried since the machine booted."""
    try:
        known = json.loads((home() / "kvm.json").read_text())
        clock, known_key, works = known["clock_id"], known["key"], known["works"]
    except (OSError, ValueError, KeyError, TypeError):
        # Damaged, it is as one that was never written: the question is asked again.
        return None
    if clock != clock_id() or key not in (None, known_key):
        return None
    return bool(works)
