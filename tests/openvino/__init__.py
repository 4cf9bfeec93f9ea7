"""Explainable files on the OpenVINO provider, in an environment of its own (make test-openvino)."""
