"""Which state of a project's history an image was made from, as git says, else a pipeline; and for which push."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelyard import programs
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


def _git(root: Path, environ: Mapping[str, str], *arguments: str) -> str:
    return programs.ask(["git", "-C", str(root), *arguments], environ, seconds=_SECONDS).text.strip()
