"""Building and writing the explainable graph and its tail file: inputs, gates, outputs, metadata."""
