"""Conformance suites for methods, codes, codecs and engines; use them on your own parts too."""
