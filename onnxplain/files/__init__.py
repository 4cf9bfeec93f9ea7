"""Files on disk: written whole or not at all, one writer at a time, no reading of pipes and devices."""
