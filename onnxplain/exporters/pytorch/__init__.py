"""PyTorch modules: traced, run and differentiated; the only folder of the exporters that imports torch."""
