"""The name under which Cog up to 0.16 kept the class of a model's inputs."""

from __future__ import annotations

from typing import Any

from cog.fields import FieldInfo, Input
from cog.types import URLPath

__all__ = ["BaseInput", "FieldInfo", "Input"]


class BaseInput:
    """Inputs by name: `BaseInput(text="a").text`. The runtime hands them over one by one and makes none of these."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def cleanup(self) -> None:
        """Remove the files that were fetched for these inputs."""
        for value in vars(self).values():
            for file in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(file, URLPath):
                    file.unlink(missing_ok=True)
