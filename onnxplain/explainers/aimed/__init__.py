"""What is explained of an image: a target, placed on it, and how its number is read from the model's outputs."""
