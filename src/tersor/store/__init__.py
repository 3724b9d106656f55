"""The .tsr file."""
