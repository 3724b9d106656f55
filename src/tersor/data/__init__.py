"""Samples: inputs, with or without labels, that can be read again and again."""
