"""Somebody else's move, of somebody else's service, seen by checks: no lab, no root, no libvirt."""
