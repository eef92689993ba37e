"""Which tracks a segment of HLS holds: a viewer needs picture and sound, and an answer with neither plays nothing."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict

import av

PICTURE, SOUND, OTHER = 1, 2, 4
_KINDS = {"video": PICTURE, "audio": SOUND}
# What segments may be (RFC 8216, section 3), so that no content makes FFmpeg open anything else.
_OPTIONS = {"format_whitelist": "mpegts,mov,mp4,aac,mp3,ac3,eac3,webvtt", "protocol_whitelist": ""}
# Viewers of one stream fetch the same segments at about the same time.
MOST_REMEMBERED = 1024


class TrackFinder:
    """Looks into segments, into the same one only once; threads may share one."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, int] = OrderedDict()

    def tracks(self, initialization: bytes, segment: bytes) -> int:
        """PICTURE, SOUND and OTHER, as bits, of what has packets in a segment or its beginning; 0 when it is no media."""
        digest = hashlib.blake2b(initialization + segment, digest_size=16).digest()
        found = self._found.get(digest)
        if found is None:
            found = self._found[digest] = _look(initialization + segment)
            if len(self._found) > MOST_REMEMBERED:
                self._found.popitem(last=False)
        return found


def _look(data: bytes) -> int:
    found = 0
    try:
        with av.open(io.BytesIO(data), "r", options=_OPTIONS) as container:
            for packet in container.demux():
                if packet.size:
                    found |= _KINDS.get(packet.stream.type, OTHER)
    except (av.error.FFmpegError, ValueError):
        pass  # what had been read before the damage counts
    return found
