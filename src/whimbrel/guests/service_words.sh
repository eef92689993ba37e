#!/bin/bash
# Prints the last words of a service that was waited for in vain: those of the unit in a VM, or of the container in Docker.
set +e
journalctl --unit=own --lines=15 --no-pager --output=cat --quiet 2>/dev/null
[ ! -S /run/docker.sock ] || docker logs --tail 15 "$NAME" 2>&1
exit 0
