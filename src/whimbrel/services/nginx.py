"""nginx with its RTMP module, which plays a film: over RTMP and in segments over HTTP (HLS), or over HLS alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whimbrel.services.client import Client
from whimbrel.services.service import Installed, clients_of
from whimbrel.spec.service import ServiceName

_IMAGE = Installed(("nginx-light", "libnginx-mod-rtmp"), {"etc/nginx/nginx.conf": "origin.conf"}, ("nginx.service",))


@dataclass(frozen=True)
class Nginx:
    """An nginx that its clients ask at these ports. Implements ``Service``."""

    name: ServiceName
    ports: tuple[int, ...]
    http_port: int = 80
    image: Installed = _IMAGE
    start: str = "systemctl start nginx.service"
    command: str = "nginx -g 'daemon off;'"
    before_as_root: str = "sed -i 's/^user .*/user root;/' /etc/nginx/nginx.conf; "

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of nginx, without its name."""
        return {"nginx": "nginx -v 2>&1 | sed 's,.*/,,'"}

    @property
    def clients(self) -> tuple[Client, ...]:
        """The kinds of viewers that its ports are for."""
        return clients_of(self.name)


STREAM = Nginx("stream", (1935, 80))
HLS = Nginx("hls", (80,))
