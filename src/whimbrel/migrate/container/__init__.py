"""Containers moved from one carrier to another by CRIU."""
