"""ONNX Runtime sessions: how a file is opened for a provider, and how images are run in batches."""
