"""Learning from a teacher: what happens during training, beside its own loss."""
