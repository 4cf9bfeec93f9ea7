"""Maps averaged over mirrored and scaled copies of an image, for every method."""
