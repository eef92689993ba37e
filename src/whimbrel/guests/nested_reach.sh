#!/bin/bash
# nested_reach SECONDS PORT NEIGHBOUR_PORT: asks the container from the VM, and the VM from inside the container's network.
said() { docker inspect --format "$1" "$NAME"; }
pid=$(said '{{.State.Pid}}')
inner=$(said '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
outer=$(said '{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}')
into=--property=StandardOutput=append:/run/reach.log
systemd-run --unit=reach-container "$into" /usr/local/bin/reach vm-to-container "$inner" "$2" "$1"
systemd-run --unit=reach-vm "$into" nsenter --net="/proc/$pid/ns/net" /usr/local/bin/reach container-to-vm "$outer" "$3" "$1"
