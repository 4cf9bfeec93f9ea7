"""Separate studies that can be repeated; each prints or writes its own results."""
