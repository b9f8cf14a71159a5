"""What `setup(weights=…)` receives: by its annotation a path, an open file or a text."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from cog.types import File, Path

# Stands beside the model's code where weights were baked in rather than named.
FOLDER = "weights"


def given(annotation: Any, value: str | None, fetched: Callable[[str], str]) -> Any:
    """`value`, an address or a path, as the annotation wants it: downloaded, as a file to read, or as it is.

    `fetched` brings the bytes of an address here and gives their path; a path is given back as it is. Without a value
    it is the file or folder `weights` of the current folder, where there is one. Raises OSError.
    """
    if value is None and pathlib.Path(FOLDER).exists():
        value = FOLDER
    kinds = (annotation, *getattr(annotation, "__args__", ()))
    if value is None or str in kinds:
        return value
    if any(isinstance(kind, type) and issubclass(kind, pathlib.PurePath) for kind in kinds):
        return Path(fetched(value))
    if File in kinds:
        remote = value[:8].lower().startswith(("http://", "https://", "data:"))
        return File.validate(value) if remote else pathlib.Path(value).open("rb")
    return value
