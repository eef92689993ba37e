"""A measured move: what moves, on which site, with which instruments, and what is noted of it; whoever asked for it."""
