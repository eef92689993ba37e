"""What would stop, break or spoil a move between two hosts by URI, found before anything moves. One module per subject."""
