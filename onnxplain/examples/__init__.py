"""Short programs to copy and to change: `python -m onnxplain.examples.NAME`. They use public names only."""
