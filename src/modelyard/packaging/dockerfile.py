"""What must be executed to make an image of a project, as a Dockerfile. Nothing here is built; it is plain text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

# Without a syntax line: an engine would fetch what it names.
_SYSTEM = """FROM {base}
USER root
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \\
    apt-get update -qq; \\
    apt-get install -qqy {packages}; \\
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache
"""


def system_packages(base: str, packages: Sequence[str]) -> str:
    """The base with Debian's packages in it; they and their dependencies are one layer."""
    return _SYSTEM.format(base=base, packages=shlex.join(packages))
