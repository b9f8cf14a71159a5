"""A model that does not stop when it is asked to."""

import time

from cog import CancelationException


def deaf() -> str:
    while True:
        try:
            time.sleep(60)
        except CancelationException:
            pass
