#!/bin/bash
# ports_wait PORT...: waits until every port takes connections; half a minute for each.
for port in "$@"; do
    until_true 300 takes_connections "$port"
done
