"""The names of what ran predictions in the server of Cog up to 0.16."""

from __future__ import annotations

from typing import Any

from cog.errors import CogError


class RunnerBusyError(CogError):
    """A prediction runs already. Nothing here raises it."""


class UnknownPredictionError(CogError):
    """No prediction of this id runs. Nothing here raises it."""


class PredictionRunner:
    """Cannot be made: predictions are run by a process of their own here. Raises RuntimeError."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(
            "cog.server.runner.PredictionRunner ran predictions inside Cog's server up to 0.16."
            " Call the model itself, or start `yard serve` and call it over HTTP."
        )
