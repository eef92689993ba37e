"""Techniques: how a guest, or a container, is moved; what they share, the journal, and how an interrupted move is mended."""
