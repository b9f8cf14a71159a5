"""Outputs as JSON, by the names that models of Cog up to 0.16 use."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Callable
from typing import Any

from cog.plain import plain


def make_encodeable(obj: Any) -> Any:
    """What `json.dumps` can write, for models, enums, times, arrays and the like; files stay as they are.

    Raises TypeError for what has no meaning in JSON.
    """
    if obj is None or isinstance(obj, (str, int, float, os.PathLike, io.IOBase)):
        return getattr(obj, "value", obj) if isinstance(obj, (str, int)) else obj  # an enumeration of texts or numbers
    if isinstance(obj, dict):
        return {make_encodeable(key): make_encodeable(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [make_encodeable(value) for value in obj]
    return make_encodeable(plain(obj))


def upload_files(obj: Any, upload_file: Callable[[io.IOBase], str]) -> Any:
    """The same value, where for each file stands what `upload_file` gives for it, opened."""
    if isinstance(obj, dict):
        return {key: upload_files(value, upload_file) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [upload_files(value, upload_file) for value in obj]
    if isinstance(obj, os.PathLike):
        with pathlib.Path(obj).open("rb") as file:
            return upload_file(file)
    return upload_file(obj) if isinstance(obj, io.IOBase) else obj
