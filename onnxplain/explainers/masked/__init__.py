"""Masked copies of an image and the model's scores for them, for every method that hides pixels."""
