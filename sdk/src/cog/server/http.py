"""`python -m cog.server.http`: Cog's HTTP API of the model that `COG_PREDICT_TYPE_STUB` names."""

from __future__ import annotations

import runpy
import sys
from typing import Any, NoReturn


def create_app(*_: Any, **__: Any) -> NoReturn:
    """Always raises RuntimeError: the application of Cog up to 0.16 was FastAPI's, and there is none here."""
    raise RuntimeError(
        "cog.server.http.create_app made a FastAPI application in Cog up to 0.16; the server here is no such one."
        " Start it as a process, `yard serve` or `python -m cog.server.http`, and call it over HTTP."
    )


def main() -> None:
    """Serve until told to stop, with the flags of the command line."""
    try:
        runpy.run_module("modelyard_runner", run_name="__main__", alter_sys=True)
    except ImportError as error:
        sys.exit(
            f"error: python -m cog.server.http cannot start in this Python: {error}\n"
            "hint: run `yard serve`, or `yard exec python -m cog.server.http`, in the project's folder: that needs"
            " nothing in the model's environment; to have one here, pip install 'modelyard-runner[serve]'"
        )


if __name__ == "__main__":
    main()
