"""Masked copies of an image and what the model says of them, for every method that hides pixels."""
