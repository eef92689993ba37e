"""Scripts of ours for the inside of a guest, a carrier or a cell: the files ``*.sh`` beside this module.

Each is given whole to the shell there, with what it is about as its arguments: it need not lie in any image, and nothing is ever
put into its text.
"""

from __future__ import annotations

from importlib.resources import files

from whimbrel.hosts.inside import Inside


def run_script(inside: Inside, name: str, *arguments: object, timeout_s: float = 60) -> str:
    """Runs ``NAME.sh`` inside, after ``ready.sh`` and ``container.sh``; returns what it printed. GuestError when it fails."""
    folder = files("whimbrel.guests")
    text = "".join((folder / f"{each}.sh").read_text() for each in ("ready", "container", name))
    return inside.run(["/bin/bash", "-c", text, name, *map(str, arguments)], timeout_s=timeout_s)
