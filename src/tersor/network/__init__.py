"""The workshop: a trainable graph of ATen operations, and what can be asked of it."""
