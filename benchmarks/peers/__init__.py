"""Other tools, each run in a virtual environment of its own, with the same data."""
