"""Hosts made on this machine: servers, their network, cells on them, and the vantage."""
