#!/bin/bash
# Makes the container's own network, and warm what a move will need.
# shellcheck disable=SC2034 # make_network reads them
ADDRESS=$(told ADDRESS) MAC=$(told MAC) LINK=$(link_name)
make_network
mkdir -p /run/move
# First runs read much from disk, and CRIU finds out once what the kernel can do.
criu check >/dev/null 2>&1 || true
runc --version >/dev/null
runc list >/dev/null
nc -h >/dev/null 2>&1 || true
