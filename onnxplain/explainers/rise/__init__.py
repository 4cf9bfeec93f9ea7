"""RISE: explain any model that returns scores, by scoring randomly masked copies of an image."""
