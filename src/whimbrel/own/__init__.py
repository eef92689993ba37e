"""Guests of the user's own: any libvirt domain, that whimbrel did not deploy, is moved and mended."""
