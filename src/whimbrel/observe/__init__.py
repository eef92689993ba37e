"""Instruments: each a process or thread behind a context manager that re-raises its failure."""
