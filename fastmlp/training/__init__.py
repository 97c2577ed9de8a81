"""Training: epochs, what they measured, what looks on. `train` is the way in."""
