"""What this machine offers: ONNX Runtime, and the traits of its processor. Exporters and runtime both stand on it."""
