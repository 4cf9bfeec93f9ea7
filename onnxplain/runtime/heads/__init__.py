"""The heads of a file: what its outputs mean, and the targets and regions that a user names."""
