"""Training: the loop, the schedule, the loss and what stands on disk."""
