"""What commands found out and may forget: a small file of JSON, by keys."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Memory:
    """One file. Of two that write at once, one is forgotten."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> dict[str, Any]:
        """What is known; {} for nothing."""
        found = self._load().get(key)
        return found if isinstance(found, dict) else {}

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Remember."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        partial.write_text(json.dumps({**self._load(), key: value}, indent=1))
        partial.replace(self._path)

    def _load(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._path.read_text())
            if isinstance(found, dict):
                return found
        return {}
