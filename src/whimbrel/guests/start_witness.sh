#!/bin/bash
# start_witness PORT PAGES: starts the witness, which goes on from its file where there is one; ends once it can be asked.
systemd-run --quiet --collect --unit=witness /usr/local/bin/witness "$1" "$2" /var/lib/witness
until_true 300 takes_connections "$1"
