"""Zeros among the weights."""
