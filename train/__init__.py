"""Training: one update, the training loop, the run folder, and the doctor."""
