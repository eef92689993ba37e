"""One repetition: a guest is restored, watched, moved, watched, and everything about it recorded."""
