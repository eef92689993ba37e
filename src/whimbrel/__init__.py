"""Whimbrel moves running services between hosts and measures what the move costs their users."""

__version__ = "0.1.0"
