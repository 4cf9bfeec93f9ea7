"""Detectors: outputs become boxes, scores and classes. `contract/detectors` says how they are laid out."""
