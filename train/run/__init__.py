"""What a training run writes: its folder, checkpoints, metrics, failed updates and the model folder."""
