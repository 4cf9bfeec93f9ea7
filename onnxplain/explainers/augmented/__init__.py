"""Augmented Grad-CAM: combines the Grad-CAMs of many copies of an image into one heatmap of high resolution."""
