"""Is the yard of this container ready? Ends with 0 if it is; what Docker's health check asks.

Its own lock says where it answers, so that any port and any certificate will do. Standard library only.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

SECONDS = 4


def main() -> int:
    """Ask it once."""
    try:
        url = json.loads((Path(os.environ["MODELYARD_DATA"]) / "yard.lock").read_text())["url"]
        # This machine asks itself: whom the certificate is for does not matter here.
        context = ssl._create_unverified_context()  # noqa: S323
        with urllib.request.urlopen(f"{url}/healthz", timeout=SECONDS, context=context) as reply:  # noqa: S310
            print(reply.read().decode())  # noqa: T201
    except (OSError, ValueError, KeyError) as error:
        print(f"not ready: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
