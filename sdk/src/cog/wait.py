"""Waiting for what is put into a running container later: a file, then the modules that it brings."""

from __future__ import annotations

import importlib
import os
import pathlib
import time

FILE_VARIABLE = "COG_WAIT_FILE"
IMPORTS_VARIABLE = "COG_EAGER_IMPORTS"
PATIENCE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01


def wait_for_file(path: str, timeout: float = PATIENCE_SECONDS) -> None:
    """Return once the file is there. Raises FileNotFoundError after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not pathlib.Path(path).exists():
        if time.monotonic() >= until:
            raise FileNotFoundError(f"waited {timeout:g} seconds for {path}, which did not come")
        time.sleep(_LOOK_AGAIN_SECONDS)


def eagerly_import_modules() -> int:
    """Import the modules that `COG_EAGER_IMPORTS` lists, with commas between; gives their number."""
    names = [name.strip() for name in os.environ.get(IMPORTS_VARIABLE, "").split(",") if name.strip()]
    for name in names:
        importlib.import_module(name)
    return len(names)


def wait_for_env(file_timeout: float = PATIENCE_SECONDS, include_imports: bool = True) -> None:
    """Wait for the file that `COG_WAIT_FILE` names, where it names one, then import what is asked for."""
    path = os.environ.get(FILE_VARIABLE)
    if path:
        wait_for_file(path, file_timeout)
    if include_imports:
        eagerly_import_modules()
