"""One door per Linux tool: process, namespaces, links, control groups, clock; and the ledger."""
