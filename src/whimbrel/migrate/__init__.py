"""The moves: one module per technique, the phases and limits they share."""
