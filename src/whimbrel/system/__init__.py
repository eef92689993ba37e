"""One door per Linux tool: process, namespaces, links, cgroups, clock, capabilities."""
