"""Regular expressions of inputs: written for Python, checked by whoever reads the schema, which has ECMA-262's.

With one that they cannot read, those who check inputs would check nothing, so Python's own spellings are told in
theirs; what they have no words for stays out of the components, and the model's own side checks it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

# Compiled when the first pattern comes: most models have none.
_PIECE: Final = r"""
      \\[pPu]\{[^}]*\} | \\[pP]\w | \\N\{(?P<named>[^}]*)\} | \\U(?P<wide>[0-9a-fA-F]{8})
    | \\(?P<octal>0[0-7]{0,2}|[1-3][0-7]{2}) | \\k<(?P<known>\w+)> | \\.
    | \(\?P=(?P<back>\w+)\) | \(\?P?<(?P<group>[^\W\d]\w*)> | (?P<remark>\(\?\#[^)]*\))
    | \(\?(?P<flags>[aiLmsux]*(?:-[imsx]+)?): | (?P<lost>\(\?[(>]|(?:[*+?]|\{\d*,?\d*\})\+)
    | (?P<opens>\((?!\?)) | \[(?P<negated>\^?)(?P<first>\]?)
    | \{,(?P<least>\d+)\} | \{\d+(?:,\d*)?\} | (?P<bare>[{}\]])
    """
_IN_CLASS: Final = r"""
      \\[pPu]\{[^}]*\} | \\[pP]\w | \\N\{(?P<named>[^}]*)\} | \\U(?P<wide>[0-9a-fA-F]{8})
    | \\(?P<octal>[0-7]{1,3}) | (?P<back>\\b) | \\. | \]
    """
_GLOBAL_FLAGS: Final = r"\(\?([aiLmsux]+)\)"
_BLANK: Final = r"(?:\s+|\#[^\n]*)"


class _NoWordsError(ValueError):
    """ECMA-262 cannot say it."""


def ecma(text: str) -> str | None:
    """A regular expression as Python has it, in the spelling of ECMA-262: JSON Schema's (draft 7, 6.3.3).

    None where that has no words for it: conditions, atomic groups, possessive repeats.
    """
    flags = re.match(_GLOBAL_FLAGS, text)
    try:
        if flags is None:
            return _Spelling(text, verbose=False).told()
        kept = "".join(flag for flag in "ims" if flag in flags[1])
        rest = _Spelling(text[flags.end() :], verbose="x" in flags[1]).told()
        return f"(?{kept}:{rest})" if kept else rest
    except _NoWordsError:
        return None


def compiled(text: str) -> re.Pattern[str] | None:
    """A pattern as Python reads it; None for one with what Python has not and those who check inputs have: classes of
    Unicode (`\\p{L}`), looking back over any length. Raises re.error."""
    told = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", text).replace(r"\z", r"\Z")
    told = re.sub(r"\\k<(\w+)>", r"(?P=\1)", told)
    plain = re.sub(r"\\[pP](?:\{\^?\w+\}|\w)", r"\\w", told)
    try:
        found = re.compile(plain)
    except re.error as error:
        if "look-behind requires fixed-width" in str(error):
            return None
        raise
    return found if plain == told else None


class _Spelling:
    """One pattern, told anew from its first character to its last."""

    def __init__(self, text: str, *, verbose: bool) -> None:
        self._text = text
        self._verbose = verbose
        self._groups = 0
        self._numbers: dict[str, int] = {}

    def told(self) -> str:
        found, place = "", 0
        while place < len(self._text):
            blank = _reader(_BLANK).match(self._text, place) if self._verbose else None
            token = _reader(_PIECE).match(self._text, place)
            if blank is not None:
                place = blank.end()
            elif token is None:
                found += self._text[place]
                place += 1
            elif token[0].startswith("["):
                said, place = self._class(token)
                found += said
            else:
                found += self._one(token)
                place = token.end()
        return found

    def _one(self, token: re.Match[str]) -> str:
        kind = token.lastgroup
        value = token[kind] if kind else ""
        match kind:
            case "known" | "back":
                number = self._numbers.get(value)
                return token[0] if number is None else rf"(?:\{number})"
            case "group" | "opens":
                self._groups += 1
                if kind == "group":
                    self._numbers[value] = self._groups
                    return f"(?<{value}>"
                return "("
            case "remark":
                return ""
            case "flags":
                return _scoped(value)
            case "lost":
                raise _NoWordsError
            case "least":
                return f"{{0,{value}}}"
            case "bare":
                return f"\\{value}"
        return _escape(token)

    def _class(self, opening: re.Match[str]) -> tuple[str, int]:
        said = f"[{opening['negated']}" + (r"\]" if opening["first"] else "")
        place = opening.end()
        while place < len(self._text):
            token = _reader(_IN_CLASS).match(self._text, place)
            if token is None:
                said += self._text[place]
                place += 1
                continue
            place = token.end()
            if token[0] == "]":
                return said + "]", place
            said += r"\x08" if token["back"] else _escape(token)
        return said, place


@cache
def _reader(tokens: str) -> re.Pattern[str]:
    return re.compile(tokens, re.VERBOSE | re.DOTALL)


def _scoped(flags: str) -> str:
    """The beginning of a group with flags of its own."""
    on, _, off = flags.partition("-")
    if "x" in on or "L" in on:
        raise _NoWordsError
    on, off = (("".join(flag for flag in "ims" if flag in part)) for part in (on, off))
    return f"(?{on}{'-' if off else ''}{off}:"


def _escape(token: re.Match[str]) -> str:
    text = token[0]
    if token["named"] is not None:
        import unicodedata  # late: a table of a megabyte that hardly anybody needs

        return _character(unicodedata.lookup(token["named"]))
    if token["wide"] is not None:
        return _character(chr(int(token["wide"], 16)))
    if token["octal"] is not None:
        return _character(chr(int(token["octal"], 8)))
    if text[:2] in (r"\p", r"\P") and len(text) == 3 and text[2] != "{":
        return f"{text[:2]}{{{text[2]}}}"
    return {r"\A": "^", r"\Z": "$", r"\z": "$", r"\a": r"\x07"}.get(text, text)


def _character(value: str) -> str:
    number = ord(value)
    if number > 0xFFFF:
        return value
    return f"\\u{number:04x}"
