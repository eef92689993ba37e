"""The guest, and the stream it serves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whimbrel.spec.fields import Bytes, BytesPerSecond, Count, MisfitError, PositiveSeconds, Share, Spec

# "elsewhere": whoever runs the service knows in what; it is watched, and moved by commands.
FormName = Literal["vm", "nested", "container", "elsewhere"]
# "own": what the file's ``service`` says (checks.CheckedServiceSpec).
ServiceName = Literal["none", "stream", "hls", "own"]
# By the keys of an arm: whose clients a service has.
EVERY_WATCHER = ("viewers", "hls_viewers", "vlc_viewers")
WATCHED_BY: dict[ServiceName, tuple[str, ...]] = {"none": (), "stream": EVERY_WATCHER, "hls": ("hls_viewers",), "own": ()}

# What nginx-rtmp sends ahead of the clock beside what a viewer says that it can hold, in seconds.
SENT_AHEAD_S = 1.0


class DirtierSpec(Spec):
    """Memory that is written at a known rate while the guest moves, within a working set that is all there from the beginning.

    ``uniform``: any page, at random; ``sequential``: round and round; ``hot-cold``: nine writes of ten go to a tenth of all.
    """

    rate_bytes_per_s: BytesPerSecond = Field(alias="rate", ge=4096)
    working_set_bytes: Bytes = Field(alias="working_set", ge=1 << 20)
    pattern: Literal["uniform", "sequential", "hot-cold"] = "uniform"


# The least that guests of ours boot with.
_LEAST_MEMORY_BYTES = 256 * 2**20


class GuestSpec(Spec):
    """What the VM is given, and from how many boots its saved states come.

    ``domain`` is a guest of the user's own instead, by its name or UUID, which runs on one of the hosts already.
    """

    domain: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    memory_bytes: Bytes = Field(alias="memory", default=1 * 2**30, ge=2**20)
    vcpus: Count = Field(default=1, ge=1, le=64)
    disk_bytes: Bytes = Field(alias="disk", default=3 * 2**30, ge=2 * 2**30)
    saved_states: Count = Field(default=3, ge=1, le=20)
    dirtier: DirtierSpec | None = None

    @model_validator(mode="after")
    def _boots(self) -> Self:
        if self.domain is None and self.memory_bytes < _LEAST_MEMORY_BYTES:
            raise MisfitError("is too little for a guest to boot: at least 256 MiB", "memory")
        return self

    @model_validator(mode="after")
    def _dirtier_fits(self) -> Self:
        if self.dirtier is not None and self.dirtier.working_set_bytes > self.memory_bytes // 2:
            raise MisfitError("is more than half of the guest's memory", "dirtier", "working_set")
        return self


class StreamSpec(Spec):
    """The film that nginx plays over RTMP, and the player buffers the analysis asks about.

    ``read_ahead`` is what a viewer tells the server it can hold (RTMP SetBufferLength); nginx-rtmp sends that
    much, and one second, ahead of the clock. FFmpeg's own default is 3 s. ``hls_buffer`` is what an HLS viewer keeps.
    Less than ``low_throughput`` of what a viewer usually gets is low.
    """

    bitrate_bytes_per_s: BytesPerSecond = Field(alias="bitrate", default=125e3, ge=25e3)
    length_s: PositiveSeconds = Field(alias="length", default=240.0, ge=5)
    read_ahead_s: PositiveSeconds = Field(alias="read_ahead", default=3.0)
    hls_buffer_s: PositiveSeconds = Field(alias="hls_buffer", default=6.0, ge=2, le=60)
    low_throughput: Share = Field(default=0.5, gt=0, lt=1)
    player_buffers_s: tuple[PositiveSeconds, ...] = Field(alias="player_buffers", default=(0.2, 1.0, 3.0), min_length=1)

    def ahead_of(self, watcher: str) -> tuple[str, float]:
        """Of an arm's key for viewers: how many seconds of the film those are ahead of the clock, and which key says so."""
        if watcher == "hls_viewers":
            return "stream.hls_buffer", self.hls_buffer_s
        return "stream.read_ahead", self.read_ahead_s + SENT_AHEAD_S
