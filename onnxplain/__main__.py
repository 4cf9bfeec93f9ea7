"""The command line as a module: ``python -m onnxplain``."""

from onnxplain.cli.main import main

if __name__ == "__main__":
    main()
