"""Guests of the user's own: any guest of libvirt that whimbrel did not deploy is moved and mended."""
