"""The mathematics, as pure functions on arrays."""
