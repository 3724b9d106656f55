"""Training on, and what happens meanwhile."""
