#!/bin/bash
# container_lies_in ROOT FILM: the folders of a container whose root file system and film are the server's.
mkdir -p "$HOME_OF/upper" "$HOME_OF/work" "$BUNDLE/rootfs" /srv/film
ln -s "$1" "$HOME_OF/lower"
mount --bind "$2" /srv/film
