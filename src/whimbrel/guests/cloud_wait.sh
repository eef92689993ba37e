#!/bin/bash
# Waits until cloud-init has done all that it was told; says what it could not do, and fails then.
cloud-init status --wait >/dev/null && exit
code=$?
cloud-init status --long >&2
# 2: it went on, though something could be better.
[ "$code" = 2 ]
