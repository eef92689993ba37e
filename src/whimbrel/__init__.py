"""Whimbrel moves running services between hosts and measures what the move costs their users.

>>> import whimbrel
>>> scenario = whimbrel.load("scenarios/three-servers.yaml")
>>> with whimbrel.deploy(scenario, name="shop", on="north") as shop:
...     print(shop.migrate("west").figures.blackout_ms)

Each name is imported when it is first asked for: ``import whimbrel`` is quick, and results are read without libvirt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whimbrel.api.deploying import Standing, deploy, deployed, find
    from whimbrel.api.moving import Move
    from whimbrel.api.results import Results, open_results
    from whimbrel.api.running import resume, run
    from whimbrel.api.scenario import load
    from whimbrel.api.service import Service
    from whimbrel.errors import WhimbrelError

__version__ = "0.1.0"

_WHERE = {
    "whimbrel.api.deploying": ("Standing", "deploy", "deployed", "find"),
    "whimbrel.api.moving": ("Move",),
    "whimbrel.api.results": ("Results", "open_results"),
    "whimbrel.api.running": ("resume", "run"),
    "whimbrel.api.scenario": ("load",),
    "whimbrel.api.service": ("Service",),
    "whimbrel.errors": ("WhimbrelError",),
}

__all__ = [
    "Move", "Results", "Service", "Standing", "WhimbrelError", "deploy", "deployed", "find", "load", "open_results",
    "resume", "run",
]  # fmt: skip


# Type checkers know the names above, and no others.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """A name of the API, from the module that has it."""
        from importlib import import_module

        for module, names in _WHERE.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
