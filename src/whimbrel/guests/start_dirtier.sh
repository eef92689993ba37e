#!/bin/bash
# start_dirtier RATE BYTES PATTERN: lets memory change; ends once every page of the working set is there.
systemd-run --quiet --unit=dirtier --property=StandardOutput=file:/run/dirtier.log /usr/local/bin/dirtier "$@"
until_true 600 grep -q ready /run/dirtier.log
