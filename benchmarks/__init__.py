"""What onnxplain costs, measured; nothing here is part of the package or of its tests."""
