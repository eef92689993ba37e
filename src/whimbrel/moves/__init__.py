"""One move: what it takes and how it is measured, whether what moves was brought up for it or runs already."""
