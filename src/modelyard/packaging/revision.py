"""Which state of a project's history an image was made from, as git says, else a pipeline; and for which push."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from modelyard.oci import labels as names

_SECONDS = 10.0


def labels(root: Path, environ: Mapping[str, str], push_id: str = "") -> dict[str, str]:
    """Labels with the commit, the tag and the push; those of which nobody knows are not there."""
    found = {
        names.REVISION: _git(root, environ, "rev-parse", "HEAD") or environ.get("GITHUB_SHA"),
        names.IMAGE_VERSION: _git(root, environ, "describe", "--tags", "--dirty") or environ.get("GITHUB_REF_NAME"),
        names.PUSH_ID: push_id,
    }
    return {name: value for name, value in found.items() if value}


def _git(root: Path, environ: Mapping[str, str], *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
