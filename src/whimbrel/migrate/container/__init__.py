"""Containers moved from one carrier to another by CRIU; a carrier is a VM, or a cell of a server."""
