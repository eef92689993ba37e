"""The stream: the film, the origin that plays it, and the players that watch it."""
