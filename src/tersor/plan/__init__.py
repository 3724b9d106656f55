"""What to do, in which order, and how much is asked for."""
