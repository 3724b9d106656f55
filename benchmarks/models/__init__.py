"""Definitions of published networks, to be filled with published weights."""
