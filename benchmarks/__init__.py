"""Benchmarks: one question per file; results as JSON lines in results/."""
