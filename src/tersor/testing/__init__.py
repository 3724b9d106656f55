"""Conformance suites for methods, codes, codecs, engines; use them on your own parts too."""
