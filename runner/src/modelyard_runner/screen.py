"""What workers say, on the way to a terminal: a line there has one author."""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Screen:
    """Passes text on to `write`. Who leaves half a line and ends, or is interrupted, has it ended with a line break."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        # Who wrote the line that has no end yet.
        self._author: Hashable | None = None

    def put(self, author: Hashable, text: str) -> None:
        """Text of this author, as it comes."""
        if not text:
            return
        if self._author not in (None, author):
            text = f"\n{text}"
        self._author = None if text.endswith("\n") else author
        self._write(text)

    def end(self, author: Hashable) -> None:
        """This author is done."""
        if self._author == author:
            self._author = None
            self._write("\n")
