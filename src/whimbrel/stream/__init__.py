"""The stream: its protocols, and the players that watch it for viewers."""
