"""The command line, as the tests of commands run it."""

from tests.cli.conftest import models, run

__all__ = ["models", "run"]
