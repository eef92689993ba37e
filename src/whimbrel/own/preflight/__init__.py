"""What stands against the move of a guest of the user's own: pure functions from its description and both hosts to findings."""
