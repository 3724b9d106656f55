"""How a weight is held: one file per code."""
