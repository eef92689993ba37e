"""Hosts made on this machine, and the ledger of everything made for them."""
