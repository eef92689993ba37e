#!/bin/bash
# nested_start COMMAND PORT...: starts the VM's own small service, and the container, which may be there from before.
line=$1
shift
systemctl start neighbour.service
docker start "$NAME" 2>/dev/null && exit
published=()
for port in "$@"; do published+=(--publish "$port:$port"); done
# The command is a line of shell.
eval "command=($line)"
# shellcheck disable=SC2154
docker run --detach --name "$NAME" "${published[@]}" --volume /srv/film:/srv/film:ro "$NAME" "${command[@]}"
