"""What a command says to people: on stderr, with colour only where it is seen. Results go to stdout by `result`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from modelyard.errors import ModelyardError

_COLOURS = {"red": "31", "yellow": "33", "green": "32", "bold": "1", "quiet": "2"}


class Talk:
    """Writes to a terminal or a file. `colour`: None finds out by itself."""

    def __init__(self, stream: TextIO | None = None, *, environ: Mapping[str, str], colour: bool | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._environ = environ
        self._wanted = colour
        self._told: set[str] = set()
        self.colour = _sees_colour(self._stream, environ) if colour is None else colour

    @property
    def is_terminal(self) -> bool:
        """Does a person watch, so that a line may be drawn again?"""
        return self._stream.isatty()

    def on(self, stream: TextIO) -> Talk:
        """The same manners on another stream."""
        return Talk(stream, environ=self._environ, colour=self._wanted)

    def say(self, text: str) -> None:
        """A line of its own."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def once(self, text: str) -> None:
        """A line that is not said again, however often what it is about is read."""
        if text not in self._told:
            self._told.add(text)
            self.say(text)

    def piece(self, text: str) -> None:
        """Text as it comes, with the line ends that it has."""
        self._stream.write(text)
        self._stream.flush()

    def warn(self, text: str) -> None:
        self.say(f"{self.paint('warning:', 'yellow')} {text}")

    def error(self, text: str, hint: str | None = None) -> None:
        self.say(f"{self.paint('error:', 'red')} {text}")
        if hint:
            self.say(f"{self.paint('hint:', 'bold')} {hint}")

    def trying_again(self, error: ModelyardError) -> None:
        """Say why an attempt failed, so that who waits for the next one knows what for."""
        self.say(f"{error.detail}; trying again")

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text


def result(text: str) -> None:
    """What the command was called for, on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def result_json(value: Any) -> None:
    result(json.dumps(value, indent=2, ensure_ascii=False))


def _sees_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    # https://no-color.org: present and not empty, whatever its value. The other name is Cog's.
    wanted = not environ.get("NO_COLOR") and not environ.get("COG_NO_COLOR")
    return stream.isatty() and wanted and environ.get("TERM") != "dumb"
