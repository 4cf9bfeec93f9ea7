"""Errors that a user can act on."""


class OnnxplainError(Exception):
    """Base class of every error that onnxplain raises on purpose.

    The message is one line: what was found, what was expected, what to do next. The command line prints it without
    a traceback and exits with status 2.
    """


class ImageError(OnnxplainError):
    """An image that cannot be read. The command line reports it in the results and continues with the next image."""


class UnexplainedImageError(OnnxplainError):
    """An image that a method cannot explain, for what is in it; other images may be explained.

    The command line reports it in the results and continues.
    """


class ImageWarning(UserWarning):
    """An image that is read, but probably not as its owner means it. The command line prints the first one of a run."""


class ModelError(OnnxplainError):
    """A model file that cannot be loaded, or that lacks something that the user asked for."""


class UnboundedLoopError(ModelError):
    """A graph whose answers pass a Loop without a bound on its iterations: a run of it may never end."""


class TimeLimitError(OnnxplainError):
    """A run of a model that took longer than the limit (`limit_runs`)."""


class UnsupportedError(OnnxplainError):
    """An operator or a method that this model does not support."""


class VerificationError(OnnxplainError):
    """An exported graph that failed one of its checks; no file was written."""
