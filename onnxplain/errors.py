"""Errors that a user can act on."""


class OnnxplainError(Exception):
    """Base of every error onnxplain raises on purpose.

    Its message is one line that says what was found, what was expected and what to do next; the command line
    prints it without a traceback and exits with status 2.
    """


class ImageError(OnnxplainError):
    """An image that cannot be read: the command line reports it in its line of the results and goes on."""


class ModelError(OnnxplainError):
    """A model file that cannot be loaded, or that lacks what was asked of it."""


class UnsupportedError(OnnxplainError):
    """An operator or a method that this model does not support."""


class VerificationError(OnnxplainError):
    """An exported graph that failed one of its own checks; nothing was written."""
