"""The one fine-tuning loop, its losses, and the contract of what happens during training."""
