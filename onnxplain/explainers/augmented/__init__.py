"""Augmented Grad-CAM: Grad-CAMs of many copies of an image make one of high resolution."""
