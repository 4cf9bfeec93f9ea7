"""onnxplain beside its floor and its peers, measured; nothing here is part of the package or timed by its tests."""
