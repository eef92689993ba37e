"""What happened in a trial: raw, stored atomically, never edited."""
