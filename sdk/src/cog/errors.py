"""What can go wrong inside a model's code, by name."""

from __future__ import annotations


class CogError(Exception):
    """Base of the errors that this package raises on purpose."""


class ConfigDoesNotExist(CogError):
    """There is no cog.yaml where one is needed."""


class PredictorNotSet(CogError):
    """cog.yaml names no model."""


class CancelationException(BaseException):
    """Raised inside synchronous `run()` or `predict()` when its prediction is canceled.

    Derives from BaseException so that a model's own `except Exception` does not swallow a cancel. Asynchronous code
    gets `asyncio.CancelledError` instead.
    """


class ExperimentalFeatureWarning(FutureWarning):
    """A category for `warnings.filterwarnings`; nothing raises it any more."""
