"""The CAM family: maps made of one layer's features, and of gradients, scores or nothing else."""
