"""The explainable graph and its tail file: inputs, gates, outputs, metadata, and the write."""
