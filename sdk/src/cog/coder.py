"""Coders: how a type of the author's own goes out as JSON, `Coder.register(MyCoder)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

_registered: list[type[Coder]] = []


class Coder(ABC):
    """Says for which types it stands, and turns their values into a JSON object and back.

    What `run()` returns is encoded by the coder that was registered last and stands for its type, wherever in the
    output it is.
    """

    @staticmethod
    def register(coder: type[Coder]) -> None:
        """Ask this class too, from now on."""
        if coder not in _registered:
            _registered.append(coder)

    @staticmethod
    def lookup(wanted: type) -> Coder | None:
        """The coder for a type, or None."""
        for coder in reversed(_registered):
            found = coder.factory(wanted)
            if found is not None:
                return found
        return None

    @staticmethod
    @abstractmethod
    def factory(wanted: type) -> Coder | None:
        """A coder for this type, or None where the class does not stand for it."""

    @abstractmethod
    def encode(self, value: Any) -> dict[str, Any]:
        """The value as a JSON object."""

    @abstractmethod
    def decode(self, value: dict[str, Any]) -> Any:
        """The value that such an object stands for."""
