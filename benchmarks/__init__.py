"""Pairs of ways, timed fairly in one run; reported, never asserted."""
