"""The program in the box, and the one reader of its environment: `worker` holds a model, `serve` is Cog's HTTP API."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Runs one half of the box; gives the exit code. Each half is loaded only when it is the one that runs."""
    if arguments[:1] == ["worker"]:
        from modelyard_runner import worker

        return worker.main(os.environ.pop("MODELYARD_WORKER", ""))
    sys.stderr.write("usage: python -m modelyard_runner worker\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
