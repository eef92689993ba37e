"""Arms: the settings in which a scenario is tried; listed, or crossed from factors."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from whimbrel.spec.fields import Count, MisfitError, Spec
from whimbrel.spec.service import FormName

EngineName = Literal["none", "docker"]
ArmName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]{0,59}$")]
_LONGEST = 60

# What a factor may be called for short, and the key of the file that it changes.
SHORT_NAMES = {
    "technique": "migration.technique",
    "storage": "migration.storage",
    "bandwidth": "migration.bandwidth",
    "memory": "guest.memory",
    "dirty_rate": "guest.dirtier.rate",
    "bitrate": "stream.bitrate",
    "link_rate": "lab.link_rate",
    "probe_every": "observe.probe_every",
}
_OF_AN_ARM = ("viewers", "hls_viewers", "vlc_viewers", "form", "engine", "moves")
# The lab stands, and the file is what it is, for the whole campaign; only the rate of its links can change under way.
_MAY_DIFFER = ("guest", "stream", "migration", "observe", "service")
_FIXED = ("guest.saved_states",)
_LINK_RATE = "lab.link_rate"


class ArmSpec(Spec):
    """One setting of a scenario.

    ``viewers`` watch over RTMP, ``hls_viewers`` over HLS, and ``vlc_viewers`` are VLC, over RTMP. ``form`` is the scenario's own
    unless it is given. ``set`` changes keys of the file for this arm, such as ``migration.technique: post-copy``. Two controls:
    ``moves: false`` watches a guest that stays where it is, and ``engine: docker`` lets a container engine run beside the
    service of a VM, with nothing in it.
    """

    name: ArmName | None = None
    viewers: Count = Field(default=0, ge=0, le=500)
    hls_viewers: Count = Field(default=0, ge=0, le=100)
    vlc_viewers: Count = Field(default=0, ge=0, le=20)
    form: FormName | None = None
    engine: EngineName = "none"
    moves: bool = Field(default=True, strict=True)
    settings: dict[str, Any] = Field(alias="set", default={}, max_length=20)
    trials: Count = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _settings_may_differ(self) -> Self:
        for key in self.settings:
            first = key.partition(".")[0]
            if key in _OF_AN_ARM or key in SHORT_NAMES:
                raise MisfitError(f"write {SHORT_NAMES.get(key, 'it beside set, not in it')!r}", "set", key)
            if "." not in key or (first not in _MAY_DIFFER and key != _LINK_RATE) or key in _FIXED:
                raise MisfitError(
                    f"cannot differ between arms: keys of {', '.join(_MAY_DIFFER)} can, and {_LINK_RATE}", "set", key
                )
        return self

    def named(self, scenario: str, form: FormName, watched: bool) -> ArmSpec:
        """The same arm with the name it goes by: its own, or one made of what tells it from others."""
        if self.name is not None:
            return self
        parts = [scenario, *([str(self.viewers)] if watched else [])]
        parts += [f"{self.hls_viewers}-hls"] if self.hls_viewers else []
        parts += [f"{self.vlc_viewers}-vlc"] if self.vlc_viewers else []
        parts += [self.form] if self.form not in (None, form) else []
        parts += [f"idle-{self.engine}"] if self.engine != "none" else []
        parts += [] if self.moves else ["stays"]
        parts += [_as_name(key, value) for key, value in self.settings.items()]
        return self.model_copy(update={"name": _short("-".join(parts))})

    @property
    def particulars(self) -> str:
        """What tells the arm from others of its scenario, in words, besides its viewers; empty when nothing does."""
        parts = [f"form {self.form}"] if self.form is not None else []
        parts += [f"{self.engine} idle beside it"] if self.engine != "none" else []
        parts += [] if self.moves else ["does not move"]
        parts += [f"{_spoken(key.rpartition('.')[2])} {_spoken(value)}" for key, value in self.settings.items()]
        return ", ".join(parts)


def _spoken(value: object) -> str:
    """A key or a value as a reader says it: of a mapping ``rate 1 MiB/s and working set 2 GiB``."""
    if isinstance(value, Mapping):
        return " and ".join(f"{_spoken(key)} {_spoken(inner)}" for key, inner in value.items())
    return str(value).replace("_", " ")


def _as_name(key: str, value: object) -> str:
    """The value, with the last part of its key where it does not speak for itself: ``vcpus-2``, but ``post-copy``."""
    said = str(value).lower() if key == SHORT_NAMES["technique"] else f"{key.rpartition('.')[2]} {str(value).lower()}"
    return re.sub(r"[^a-z0-9.]+", "-", said).strip("-")


def _short(name: str) -> str:
    """Cuts to at most 60 characters; what is cut off is told apart by a hash."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def crossed(factors: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    """Every combination of the factors' values, as arms of a scenario file; the first factor changes slowest."""
    arms = []
    for values in itertools.product(*factors.values()):
        arm: dict[str, Any] = {"trials": trials, "set": {}}
        for factor, value in zip(factors, values, strict=True):
            if factor in _OF_AN_ARM:
                arm[factor] = value
            else:
                arm["set"][SHORT_NAMES.get(factor, factor)] = value
        arms.append(arm)
    return arms
