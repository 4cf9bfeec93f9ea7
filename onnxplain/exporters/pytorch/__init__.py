"""Tracing, running and differentiating PyTorch modules. Only this folder of the exporters imports torch."""
