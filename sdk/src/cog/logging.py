"""`setup_logging()`, as programs of Cog up to 0.16 call it."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def setup_logging(*, log_level: int = logging.NOTSET) -> None:
    """Write records of `log_level` and above to stderr, a line each; inside a prediction that is its log."""
    logging.basicConfig(level=log_level, format=FORMAT, force=True)
